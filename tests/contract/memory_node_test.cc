// What the kernel says of memory on two nodes: on hosts that have two, as the guests of tests/rxe do.
#include "lib/memory/memory_node.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kHalf = 4 << 20;

bool Bind(absl::Span<std::byte> range, int node) {
  constexpr int kBind = 2;  // MPOL_BIND
  const unsigned long nodes = 1ul << node;
  return syscall(SYS_mbind, range.data(), range.size(), kBind, &nodes, 8 * sizeof(nodes), 0) == 0;
}

TEST(MemoryOfTwoNodes, EachHalfHasItsOwnAndTheWholeNone) {
  void* const mapped = mmap(nullptr, 2 * kHalf, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const absl::Span<std::byte> both(static_cast<std::byte*>(mapped), 2 * kHalf);
  const absl::Span<std::byte> halves[] = {both.first(kHalf), both.subspan(kHalf)};
  const absl::Cleanup unmap = [mapped] { munmap(mapped, 2 * kHalf); };
  if (!Bind(halves[0], 0) || !Bind(halves[1], 1)) GTEST_SKIP() << "needs memory on two nodes";
  std::memset(both.data(), 1, both.size());
  if (const auto asked = NodeOfMemory(both); !asked.ok()) GTEST_SKIP() << asked.status();
  EXPECT_EQ(*NodeOfMemory(halves[0]), MemoryNodeOf(0));
  EXPECT_EQ(*NodeOfMemory(halves[1]), MemoryNodeOf(1));
  EXPECT_EQ(*NodeOfMemory(both), kNoNode);
  EXPECT_EQ(*NodeOfMemory(both.subspan(kHalf - 1, 2)), kNoNode);
}

}  // namespace
}  // namespace mcp::internal
