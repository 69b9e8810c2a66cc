#include "lib/memory/pinned_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace mcp::internal {
namespace {

TEST(PinnedPool, HandsOutDistinctTiles) {
  const auto pool = PinnedPool::Create({.tile_bytes = 5000, .tiles = 7});
  ASSERT_TRUE(pool.ok()) << pool.status();
  std::set<std::byte*> tiles;
  while (std::byte* tile = (*pool)->Take()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tile) % 4096, 0u);
    std::memset(tile, 0xff, 5000);
    EXPECT_TRUE(tiles.insert(tile).second);
    EXPECT_EQ((*pool)->IndexOf(tile), tiles.size() - 1);
  }
  EXPECT_EQ(tiles.size(), 7u);
  EXPECT_EQ((*pool)->tiles_free(), 0u);
  for (std::byte* tile : tiles) (*pool)->Return(tile);
  EXPECT_EQ((*pool)->tiles_free(), 7u);
}

TEST(PinnedPool, TheLastReturnedComesFirst) {
  const auto pool = PinnedPool::Create({.tile_bytes = 100, .tiles = 4});
  ASSERT_TRUE(pool.ok()) << pool.status();
  std::byte* const one = (*pool)->Take();
  std::byte* const other = (*pool)->Take();
  EXPECT_EQ(other - one, 128) << "whole cache lines";
  (*pool)->Return(one);
  EXPECT_EQ((*pool)->Take(), one);
  (*pool)->Return(other);
  (*pool)->Return(one);
}

TEST(PinnedPool, RefusesWhatCannotBe) {
  for (const PinnedPool::Options& options :
       {PinnedPool::Options{.tile_bytes = 0, .tiles = 1}, PinnedPool::Options{.tile_bytes = 1, .tiles = 0},
        PinnedPool::Options{.tile_bytes = uint64_t{1} << 40, .tiles = ~uint32_t{0}},
        PinnedPool::Options{.tile_bytes = ~uint64_t{0}, .tiles = 1}}) {
    EXPECT_EQ(PinnedPool::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace mcp::internal
