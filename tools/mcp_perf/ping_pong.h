// Latency: one operation at a time, on an engine without lanes that this thread drives in a spin.
//
//   put    each side puts into the other's ring and polls the last bytes of the slot that is due
//   send   a message each way, into receives that were posted before the clock started
//   get    the client gets, the server drives its engine
//
// Where this process has one CPU, it waits for events in place of spinning: a spinner would keep the CPU from its peer.
//
// Thread rule: one thread, which drives the engine.
// Lifetime: close the session before destroying it; the destructor drives the engine until all has completed.
#ifndef MCP_TOOLS_MCP_PERF_PING_PONG_H_
#define MCP_TOOLS_MCP_PERF_PING_PONG_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/completion.h"
#include "mcp/region.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/data_path.h"
#include "tools/mcp_perf/histogram.h"

namespace mcp::perf {

class PingPong {
 public:
  // `peer`: the other side's ring (put) or source (get, at the client).
  PingPong(DataPath* path, const RemoteRegion& peer, ControlChannel* control);
  ~PingPong();
  PingPong(const PingPong&) = delete;
  PingPong& operator=(const PingPong&) = delete;

  // Before a window: posts its receives, where there are any.
  absl::Status Begin(uint64_t generation, uint64_t count);
  // The client's side of a window. Returns the nanoseconds of all its round trips; `latency` gets each of them.
  absl::StatusOr<int64_t> Lead(Histogram& latency);
  // The server's side. Ends early, with an error, when the client says something on the control channel or leaves.
  absl::Status Follow();

 private:
  template <typename Ready>
  absl::Status SpinUntil(Ready ready, bool leading);
  // Of one operation: the memory of this side, and the offset at the peer or the tag.
  struct Ends {
    Slice here;
    uint64_t there = 0;
  };
  Ends EndsOf(uint64_t index) const;
  absl::Status Post(const Ends& ends);
  // Until operation `index` of the other side, or the get of this side, has ended here.
  absl::Status Await(uint64_t index, bool leading);
  void OnPosted(const Result& result);
  void OnReceived(const Result& result);

  DataPath* const path_;
  const RemoteRegion peer_;
  ControlChannel* const control_;
  const Operation operation_;
  const int looks_;  // in each turn of a spin
  const bool spin_;

  uint64_t generation_ = 0;
  uint64_t count_ = 0;      // operations of the window
  uint64_t posted_ = 0;     // of the window
  uint64_t completed_ = 0;  // of the window
  uint64_t received_ = 0;   // messages of the window
  uint64_t in_flight_ = 0;  // completions that have not run
  absl::Status error_;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_PING_PONG_H_
