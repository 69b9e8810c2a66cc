#include "lib/memory/host_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>
#include <utility>
#include <vector>

#include "lib/base/units.h"
#include "lib/memory/memlock.h"
#include "tests/support/locking.h"

namespace mcp::internal {
namespace {

uint64_t PagesResident(const HostMemory& memory) {
  std::vector<unsigned char> resident(memory.mapped_bytes() / 4096);
  EXPECT_EQ(mincore(memory.data(), memory.mapped_bytes(), resident.data()), 0);
  uint64_t count = 0;
  for (unsigned char flags : resident) count += flags & 1;
  return count;
}

HostMemory AllocateOrDie(uint64_t size, bool pin = false) {
  auto memory = AllocateHostMemory(size, pin);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return memory.ok() ? *std::move(memory) : HostMemory();
}

TEST(HostMemory, IsAlignedZeroedAndTouched) {
  for (uint64_t size : {uint64_t{1}, 4 * kKiB, 100 * kKiB + 1, 2 * kMiB, 5 * kMiB + 3}) {
    const HostMemory memory = AllocateOrDie(size);
    EXPECT_EQ(memory.size(), size);
    EXPECT_GE(memory.mapped_bytes(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 4096, 0u);
    EXPECT_EQ(PagesResident(memory), memory.mapped_bytes() / 4096);
    EXPECT_EQ(memory.data()[size - 1], std::byte{0});
    memory.data()[size - 1] = std::byte{1};
  }
}

TEST(HostMemory, SaysWhyItIsNotOnHugePages) {
  EXPECT_EQ(AllocateOrDie(4096).note(), "") << "smaller than a huge page: nothing is missing";
  const HostMemory memory = AllocateOrDie(4 * kMiB);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % kHugePageBytes, 0u);
  if (memory.page_kind() == PageKind::kHuge) {
    EXPECT_EQ(memory.note(), "");
  } else {
    EXPECT_EQ(memory.note().rfind("no reserved 2 MiB pages (E", 0), 0u) << memory.note();
  }
}

TEST(HostMemory, Moves) {
  HostMemory one = AllocateOrDie(4096);
  std::byte* const data = one.data();
  HostMemory other = std::move(one);
  EXPECT_EQ(one.data(), nullptr);
  EXPECT_EQ(other.data(), data);
  other = AllocateOrDie(8192);
  EXPECT_EQ(other.size(), 8192u);
  other.Reset();
  EXPECT_EQ(other.data(), nullptr);
}

TEST(HostMemory, Pins) {
  if (const std::string why = WhyNotLocked(64 * kKiB); !why.empty()) GTEST_SKIP() << why;
  const MemlockState before = ReadMemlockState();
  const HostMemory memory = AllocateOrDie(64 * kKiB, true);
  EXPECT_EQ(ReadMemlockState().locked_bytes, before.locked_bytes + 64 * kKiB);
}

TEST(HostMemory, RefusesWhatCannotBe) {
  EXPECT_EQ(AllocateHostMemory(0, false).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AllocateHostMemory(~uint64_t{0}, false).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AllocateHostMemory(uint64_t{1} << 47, false).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace mcp::internal
