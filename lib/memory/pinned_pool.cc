#include "lib/memory/pinned_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/status_macros.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kCacheLineBytes = 64;
constexpr uint64_t kTileBytesMax = uint64_t{1} << 40;

}  // namespace

absl::StatusOr<std::unique_ptr<PinnedPool>> PinnedPool::Create(const Options& options) {
  if (options.tile_bytes == 0 || options.tile_bytes > kTileBytesMax || options.tiles == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("pool of ", options.tiles, " tiles of ", options.tile_bytes, " bytes: cannot be made"));
  }
  const uint64_t alignment = options.tile_bytes < kPageBytes ? kCacheLineBytes : kPageBytes;
  const uint64_t stride = (options.tile_bytes + alignment - 1) / alignment * alignment;
  if (stride > ~uint64_t{0} / options.tiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("pool of ", options.tiles, " tiles of ", options.tile_bytes, " bytes exceeds the address space"));
  }
  MCP_ASSIGN_OR_RETURN(HostMemory memory, AllocateHostMemory(stride * options.tiles, options.pin));
  return std::unique_ptr<PinnedPool>(new PinnedPool(options, stride, std::move(memory)));
}

PinnedPool::PinnedPool(const Options& options, uint64_t stride, HostMemory memory)
    : tile_bytes_(options.tile_bytes), stride_(stride), memory_(std::move(memory)), taken_(options.tiles, false) {
  free_.reserve(options.tiles);
  for (uint32_t index = options.tiles; index > 0; --index) free_.push_back(index - 1);
}

PinnedPool::~PinnedPool() { MCP_ASSERT(tiles_free() == tiles()); }

std::byte* PinnedPool::Take() {
  if (free_.empty()) return nullptr;
  const uint32_t index = free_.back();
  free_.pop_back();
  taken_[index] = true;
  return memory_.data() + index * stride_;
}

void PinnedPool::Return(std::byte* tile) {
  const uint32_t index = IndexOf(tile);
  MCP_ASSERT(taken_[index]);
  taken_[index] = false;
  free_.push_back(index);  // within what was reserved
}

uint32_t PinnedPool::IndexOf(const std::byte* tile) const {
  const auto offset = static_cast<uint64_t>(tile - memory_.data());
  MCP_ASSERT(offset % stride_ == 0 && offset / stride_ < tiles());
  return static_cast<uint32_t>(offset / stride_);
}

}  // namespace mcp::internal
