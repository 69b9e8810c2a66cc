// A message that streams: its chunks go to whichever rail has room, a few at a time, so that a slow rail holds up its
// own share only and other work finds its way between them.
//
// Which chunks are still to be sent is the protocol's machine to know (lib/protocol/sender.h). Neighbours leave
// together as one piece of the size that suits the rail (dealer.h), which reports it when the peer has verified it.
// Belongs to the session's home lane.
#ifndef MCP_LIB_SESSION_STREAM_H_
#define MCP_LIB_SESSION_STREAM_H_

#include <cstddef>
#include <cstdint>

#include "lib/memory/remote_window.h"
#include "lib/protocol/sender.h"
#include "lib/session/dealer.h"
#include "lib/session/operation.h"

namespace mcp::internal {

inline constexpr uint32_t kStreamChunkBytes = RailPace::kUnitBytes;
// Shorter messages are not worth a decision: they go whole, by one rail.
inline constexpr uint64_t kStreamBytesMin = 512 << 10;
inline constexpr uint64_t kStreamBytesMax = uint64_t{kStreamChunkBytes} * kChunksMax;

struct Stream {
  Stream* next = nullptr;  // in the pool
  Transfer* transfer = nullptr;
  StreamSender sender;
  const std::byte* local = nullptr;
  uint64_t key = 0;
  RemoteWindow window;
  int64_t deadline_ns = 0;
  Dealt dealt;
  bool pumping = false;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_STREAM_H_
