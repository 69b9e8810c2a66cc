#include "lib/memory/memory_node.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

TEST(CommonNode, IsTheOneThatAllPagesAreOn) {
  EXPECT_EQ(CommonNode({0}), MemoryNodeOf(0));
  EXPECT_EQ(CommonNode({1, 1, 1}), MemoryNodeOf(1));
  EXPECT_NE(MemoryNodeOf(0), kNoNode);
  EXPECT_NE(MemoryNodeOf(0), MemoryNodeOf(1));
}

TEST(CommonNode, IsNoneOfMixedMissingAndForeignPages) {
  EXPECT_EQ(CommonNode({}), kNoNode);
  EXPECT_EQ(CommonNode({0, 0, 1}), kNoNode);
  EXPECT_EQ(CommonNode({0, -ENOENT}), kNoNode);
  EXPECT_EQ(CommonNode({-EFAULT, -EFAULT}), kNoNode);
  EXPECT_EQ(CommonNode({62}), MemoryNodeOf(62));
  EXPECT_EQ(CommonNode({63}), kNoNode);  // beyond what one byte's table has
  EXPECT_EQ(CommonNode({255}), kNoNode);
}

class NodeOfMemoryTest : public ::testing::Test {
 protected:
  static constexpr size_t kPages = 64;

  void SetUp() override {
    page_bytes_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = mmap(nullptr, kPages * page_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped_, MAP_FAILED);
    // Pages one by one: a huge one would bring all in at once.
    madvise(mapped_, kPages * page_bytes_, MADV_NOHUGEPAGE);
    const auto asked = NodeOfMemory(Pages(0, 1));
    if (!asked.ok()) GTEST_SKIP() << asked.status();
  }
  void TearDown() override { munmap(mapped_, kPages * page_bytes_); }

  absl::Span<std::byte> Pages(size_t first, size_t count) {
    return {static_cast<std::byte*>(mapped_) + first * page_bytes_, count * page_bytes_};
  }
  void Touch(size_t first, size_t count) { std::memset(Pages(first, count).data(), 1, count * page_bytes_); }

  size_t page_bytes_ = 0;
  void* mapped_ = nullptr;
};

TEST_F(NodeOfMemoryTest, PagesThatAreThereHaveOne) {
  Touch(0, kPages);
  // Each alone, so that it holds on hosts of several nodes too.
  for (size_t i = 0; i < kPages; ++i) EXPECT_NE(*NodeOfMemory(Pages(i, 1)), kNoNode) << i;
  EXPECT_NE(*NodeOfMemory(Pages(5, 1).subspan(100, 1)), kNoNode);
}

TEST_F(NodeOfMemoryTest, PagesThatAreNotThereHaveNoneAndAreNotBroughtIn) {
  EXPECT_EQ(*NodeOfMemory(Pages(0, kPages)), kNoNode);
  std::array<unsigned char, kPages> resident;
  ASSERT_EQ(mincore(mapped_, kPages * page_bytes_, resident.data()), 0);
  for (const unsigned char page : resident) EXPECT_EQ(page & 1, 0);
}

// The last page is looked at, whatever the range's length.
TEST_F(NodeOfMemoryTest, OneMissingAtAnEndLeavesItUnknown) {
  for (const size_t pages : {size_t{2}, size_t{16}, size_t{17}, size_t{40}, kPages}) {
    ASSERT_EQ(madvise(mapped_, kPages * page_bytes_, MADV_DONTNEED), 0);
    Touch(0, pages - 1);
    EXPECT_EQ(*NodeOfMemory(Pages(0, pages)), kNoNode) << pages;
    ASSERT_EQ(madvise(mapped_, kPages * page_bytes_, MADV_DONTNEED), 0);
    Touch(1, pages - 1);
    EXPECT_EQ(*NodeOfMemory(Pages(0, pages)), kNoNode) << pages;
  }
}

TEST_F(NodeOfMemoryTest, NoMemoryHasNone) { EXPECT_EQ(*NodeOfMemory({}), kNoNode); }

}  // namespace
}  // namespace mcp::internal
