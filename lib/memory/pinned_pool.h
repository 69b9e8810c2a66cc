// Tiles of one size out of one allocation (host_memory.h), for staging: taking and returning one moves an index.
//
// Not thread-safe: a pool belongs to a lane. Every tile is back before the pool goes.
#ifndef MCP_LIB_MEMORY_PINNED_POOL_H_
#define MCP_LIB_MEMORY_PINNED_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/memory/host_memory.h"

namespace mcp::internal {

class PinnedPool {
 public:
  struct Options {
    uint64_t tile_bytes = 0;
    uint32_t tiles = 0;
    bool pin = false;  // lock the pages; huge pages of the reserved pool need no lock
  };
  // The only allocation. Errors as AllocateHostMemory; kInvalidArgument for an empty pool.
  static absl::StatusOr<std::unique_ptr<PinnedPool>> Create(const Options& options);
  ~PinnedPool();
  PinnedPool(const PinnedPool&) = delete;
  PinnedPool& operator=(const PinnedPool&) = delete;

  // Null when every tile is taken. The one returned last comes first: its cache lines are warm. Tiles begin on a page
  // when they fill one, else on a cache line.
  std::byte* Take();
  void Return(std::byte* tile);

  // The tile's number in the pool: for tables of registered buffers.
  uint32_t IndexOf(const std::byte* tile) const;

  uint64_t tile_bytes() const { return tile_bytes_; }
  uint32_t tiles() const { return static_cast<uint32_t>(taken_.size()); }
  uint32_t tiles_free() const { return static_cast<uint32_t>(free_.size()); }
  // The allocation: what to register, on which pages it is, and why not on better ones.
  const HostMemory& memory() const { return memory_; }

 private:
  PinnedPool(const Options& options, uint64_t stride, HostMemory memory);

  const uint64_t tile_bytes_;
  const uint64_t stride_;  // from one tile to the next
  HostMemory memory_;
  std::vector<uint32_t> free_;  // stack
  std::vector<bool> taken_;     // catches what is returned twice
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_PINNED_POOL_H_
