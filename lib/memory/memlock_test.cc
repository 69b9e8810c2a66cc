#include "lib/memory/memlock.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "lib/base/units.h"
#include "lib/memory/host_memory.h"

namespace mcp::internal {
namespace {

TEST(Memlock, WhatFitsIsAllowed) {
  EXPECT_TRUE(CheckMemlock({.limit_bytes = 8 * kKiB, .locked_bytes = 4 * kKiB}, 4 * kKiB, "x").ok());
  EXPECT_TRUE(CheckMemlock({.limit_bytes = MemlockState::kUnlimited}, kTiB, "x").ok());
  EXPECT_TRUE(CheckMemlock({.limit_bytes = 0, .exempt = true}, kTiB, "x").ok());
  EXPECT_FALSE(CheckMemlock({.limit_bytes = 8 * kKiB, .locked_bytes = 4 * kKiB}, 4 * kKiB + 1, "x").ok());
  EXPECT_FALSE(CheckMemlock({.limit_bytes = 4 * kKiB, .locked_bytes = 8 * kKiB}, 1, "x").ok());
}

TEST(Memlock, TheErrorNamesLimitNeedAndRemedy) {
  const MemlockState state = {
      .limit_bytes = 8 * kMiB, .hard_limit_bytes = MemlockState::kUnlimited, .locked_bytes = 4 * kKiB, .exempt = false};
  EXPECT_EQ(CheckMemlock(state, 64 * kMiB, "allocate 64 MiB"),
            absl::FailedPreconditionError(
                "allocate 64 MiB: RLIMIT_MEMLOCK is 8 MiB (hard limit unlimited), 4 KiB of it in use, and 64 MiB more "
                "must be locked. Raise it with \"ulimit -l\", LimitMEMLOCK=infinity in the systemd unit, \"* - memlock "
                "unlimited\" in /etc/security/limits.conf, or \"--ulimit memlock=-1\" for a container"));
}

// In the child of a death test: as a user without privilege, under a limit of one page.
void BecomeLimited() {
  const rlimit limit = {4096, 4096};
  setrlimit(RLIMIT_MEMLOCK, &limit);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  syscall(SYS_capset, &header, none);
}

[[noreturn]] void ExitWith(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::_Exit(status.ok() ? 0 : 1);
}

TEST(MemlockDeathTest, TheKernelsLimitIsReported) {
  const auto lock = [](uint64_t bytes) {
    BecomeLimited();
    void* const page = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ExitWith(LockMemory(page, bytes, "lock"));
  };
  EXPECT_EXIT(lock(4096), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(lock(8192), testing::ExitedWithCode(1),
              "lock: RLIMIT_MEMLOCK is 4 KiB .hard limit 4 KiB., 0 B of it in use, and 8 KiB more");
}

TEST(MemlockDeathTest, PinnedMemoryNeedsTheLimit) {
  const auto allocate = [](bool pin) {
    BecomeLimited();
    ExitWith(AllocateHostMemory(64 * kKiB, pin).status());
  };
  EXPECT_EXIT(allocate(false), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(allocate(true), testing::ExitedWithCode(1), "allocate 64 KiB: RLIMIT_MEMLOCK is 4 KiB");
}

TEST(Memlock, AnUnmappedRangeIsNotBlamedOnTheLimit) {
  void* const page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page, 4096);
  if (mlock(page, 4096) == 0) GTEST_SKIP() << "this sanitizer replaces mlock by nothing";
  if (!CheckMemlock(ReadMemlockState(), 4096, "").ok()) GTEST_SKIP() << "RLIMIT_MEMLOCK is under 4 KiB";
  EXPECT_EQ(LockMemory(page, 4096, "lock"),
            absl::ResourceExhaustedError("lock: mlock of 4 KiB: ENOMEM (Cannot allocate memory)"));
}

}  // namespace
}  // namespace mcp::internal
