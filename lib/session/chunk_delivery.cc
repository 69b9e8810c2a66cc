#include "lib/session/chunk_delivery.h"

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"

namespace mcp::internal {

void ChunkDelivery::Begin(uint64_t message_bytes) {
  MCP_ASSERT(message_bytes <= kMessageBytesMax);
  plan_ = {.transfer = 1, .bytes = message_bytes, .chunk_bytes = kTileUnitBytes, .window = 1, .retry_ns = 1};
  receiver_.emplace(plan_, in_order_, plan_.chunks());
}

absl::Status ChunkDelivery::OnTile(uint64_t offset, uint64_t bytes) {
  const bool last = offset + bytes == plan_.bytes;
  if (offset % kTileUnitBytes != 0 || (bytes % kTileUnitBytes != 0 && !last)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tile frame: offset ", offset, ", payload_bytes ", bytes, ": not in units of ", kTileUnitBytes));
  }
  const auto first = static_cast<uint32_t>(offset / kTileUnitBytes);
  const auto end = static_cast<uint32_t>((offset + bytes + kTileUnitBytes - 1) / kTileUnitBytes);
  for (uint32_t chunk = first; chunk < end; ++chunk) {
    if (absl::Status taken = receiver_->OnChunk(plan_.generation, chunk, true); !taken.ok()) return taken;
  }
  // Neighbours go together.
  uint64_t run_begin = 0;
  uint64_t run_end = 0;
  uint32_t chunk = 0;
  while (receiver_->NextToDeliver(&chunk)) {
    if (plan_.offset(chunk) != run_end) {
      if (run_end > run_begin) on_chunk_(run_begin, run_end - run_begin);
      run_begin = plan_.offset(chunk);
    }
    run_end = plan_.offset(chunk) + plan_.length(chunk);
  }
  if (run_end > run_begin) on_chunk_(run_begin, run_end - run_begin);
  return absl::OkStatus();
}

void ChunkDelivery::OnWhole(uint64_t message_bytes) {
  if (!receiver_.has_value() && message_bytes > 0) on_chunk_(0, message_bytes);
}

}  // namespace mcp::internal
