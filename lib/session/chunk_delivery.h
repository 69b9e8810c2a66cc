// Parts of a message, given to its receiver while the rest is on its way: each byte once, verified, in the order that
// was asked for.
//
// Belongs to the lane that completes the receive. Allocates when the message is matched, a few bits for 64 KiB of it.
#ifndef MCP_LIB_SESSION_CHUNK_DELIVERY_H_
#define MCP_LIB_SESSION_CHUNK_DELIVERY_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "lib/protocol/receiver.h"
#include "mcp/session.h"

namespace mcp::internal {

// Tiles of a message begin at multiples of this, and all but the last end there.
inline constexpr uint64_t kTileUnitBytes = uint64_t{64} << 10;

class ChunkDelivery {
 public:
  static constexpr uint64_t kMessageBytesMax = kChunksMax * kTileUnitBytes;

  ChunkDelivery(ChunkHandler on_chunk, bool in_order) : on_chunk_(std::move(on_chunk)), in_order_(in_order) {}

  // The message is matched; at most kMessageBytesMax.
  void Begin(uint64_t message_bytes);
  // A verified tile. kInvalidArgument: it is not of whole units.
  absl::Status OnTile(uint64_t offset, uint64_t bytes);
  // The whole message at once, where it was never begun.
  void OnWhole(uint64_t message_bytes);

 private:
  ChunkHandler on_chunk_;
  const bool in_order_;
  TransferPlan plan_;
  std::optional<StreamReceiver> receiver_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_CHUNK_DELIVERY_H_
