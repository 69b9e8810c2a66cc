#include "lib/engine/memlock_registrar.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "lib/memory/host_memory.h"
#include "lib/memory/memlock.h"
#include "tests/support/locking.h"

namespace mcp::internal {
namespace {

TEST(MemlockRegistrar, PagesStayLockedForTheLastThatHasThem) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (const std::string why = WhyNotLocked(9 * page); !why.empty()) GTEST_SKIP() << why;
  auto memory = AllocateHostMemory(9 * page, false);
  ASSERT_TRUE(memory.ok()) << memory.status();
  const uint64_t before = ReadMemlockState().locked_bytes;
  const auto locked_pages = [&] { return (ReadMemlockState().locked_bytes - before) / page; };
  MemlockRegistrar registrar;
  const auto lock = [&](uint64_t first, uint64_t pages) {
    const auto handle = registrar.Register({memory->data() + first * page, pages * page});
    EXPECT_TRUE(handle.ok()) << handle.status();
    return handle.value_or(0);
  };
  const uint64_t all = lock(0, 9);
  const uint64_t low = lock(1, 2);
  const uint64_t middle = lock(2, 3);
  const uint64_t high = lock(7, 1);
  EXPECT_EQ(locked_pages(), 9u);
  registrar.Deregister(all);
  EXPECT_EQ(locked_pages(), 5u);
  registrar.Deregister(low);
  EXPECT_EQ(locked_pages(), 4u);
  registrar.Deregister(high);
  EXPECT_EQ(locked_pages(), 3u);
  registrar.Deregister(middle);
  EXPECT_EQ(locked_pages(), 0u);
}

}  // namespace
}  // namespace mcp::internal
