// A message that streams: its chunks go to whichever rail has room, a few at a time, so that a slow rail holds up its
// own share only and other work finds its way between them.
//
// Which chunks are still to be sent is the protocol's machine to know (lib/protocol/sender.h); rails report each chunk
// when the peer has verified it. Belongs to the session's home lane.
#ifndef MCP_LIB_SESSION_STREAM_H_
#define MCP_LIB_SESSION_STREAM_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/memory/remote_window.h"
#include "lib/protocol/sender.h"
#include "lib/session/operation.h"
#include "lib/wire/hello.h"

namespace mcp::internal {

// How a message is cut, and how much of it is on each rail at once.
struct StreamShape {
  uint32_t chunk_bytes;
  uint32_t chunks_per_rail;
};
// What the path holds at 100 Gb/s for 80 us. More would be dealt out beforehand, and leave nothing to decide by what
// the rails have done.
inline constexpr StreamShape kStreamShape{256 << 10, 4};
// Where a device goes back to what was lost and sends everything from there on again (RoCE), a loss costs what is on
// its way: so there is little of it.
inline constexpr StreamShape kLossyStreamShape{64 << 10, 2};
// Shorter messages are not worth a decision: they go whole, by one rail.
inline constexpr uint64_t kStreamBytesMin = 2 * kStreamShape.chunk_bytes;
inline constexpr uint64_t kStreamBytesMax = uint64_t{kStreamShape.chunk_bytes} * kChunksMax;

struct Stream {
  Stream* next = nullptr;  // in the pool
  Transfer* transfer = nullptr;
  StreamShape shape = kStreamShape;
  StreamSender sender;
  const std::byte* local = nullptr;
  uint64_t key = 0;
  RemoteWindow window;
  int64_t deadline_ns = 0;
  uint64_t bytes_unsent = 0;
  std::array<uint32_t, kRailsMax> in_flight{};  // chunks
  uint32_t first_rail = 0;                      // streams begin on the rails in turn
  bool pumping = false;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_STREAM_H_
