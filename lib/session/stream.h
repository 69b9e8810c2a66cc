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

// Of a stream's chunks on one rail: what the path holds at 100 Gb/s for 80 us. More would be dealt out beforehand, and
// leave nothing to decide by what the rails have done.
inline constexpr uint32_t kStreamChunkBytes = 256 << 10;
inline constexpr uint32_t kStreamChunksPerRail = 4;
// Shorter messages are not worth a decision: they go whole, by one rail.
inline constexpr uint64_t kStreamBytesMin = 2 * kStreamChunkBytes;
inline constexpr uint64_t kStreamBytesMax = uint64_t{kStreamChunkBytes} * kChunksMax;

struct Stream {
  Stream* next = nullptr;  // in the pool
  Transfer* transfer = nullptr;
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
