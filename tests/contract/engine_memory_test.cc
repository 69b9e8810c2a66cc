// What an engine pins.
#include <sys/mman.h>

#include <string>

#include "gtest/gtest.h"
#include "lib/base/units.h"
#include "lib/memory/memlock.h"
#include "mcp/engine.h"
#include "tests/support/engine_world.h"
#include "tests/support/locking.h"

namespace mcp::internal {
namespace {

// A large allocation often gets the address of one that was freed.
TEST(EngineMemory, WhatIsPinnedAtAnAddressAgainIsLockedAgain) {
  constexpr uint64_t kSize = 1 << 20;
  if (const std::string why = WhyNotLocked(kSize); !why.empty()) GTEST_SKIP() << why;
  EngineWorld world{EngineWorld::Setup{}};
  Engine* const engine = world.MakeEngine(0);
  ASSERT_NE(engine, nullptr);
  void* address = nullptr;
  const uint64_t before = ReadMemlockState().locked_bytes;
  for (int round = 0; round < 2; ++round) {
    const int fixed = address == nullptr ? 0 : MAP_FIXED;
    address = mmap(address, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    ASSERT_NE(address, MAP_FAILED);
    auto region = engine->Register(address, kSize, {.pin = true});
    ASSERT_TRUE(region.ok()) << region.status();
    EXPECT_EQ(ReadMemlockState().locked_bytes - before, kSize) << round;
    *region = Region();
    ASSERT_EQ(munmap(address, kSize), 0);
  }
}

}  // namespace
}  // namespace mcp::internal
