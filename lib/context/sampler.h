// From completions to samples: a transfer's latency less the queueing in front of it.
//
// What was posted on a rail before it and not yet complete keeps the rail busy for a while that is no fault of the
// transfer's protocol. That while is what the bytes in front take at the rail's measured rate, and no more than the
// time until the last of them completed.
//
// One for what shares a path (a rail, or a session's rails), for one thread. A few nanoseconds a call.
#ifndef MCP_LIB_CONTEXT_SAMPLER_H_
#define MCP_LIB_CONTEXT_SAMPLER_H_

#include <algorithm>
#include <cstdint>

#include "lib/base/assert.h"

namespace mcp::internal {

// Kept with the transfer from post to completion.
struct PostMark {
  int64_t posted_ns = 0;
  uint64_t bytes_ahead = 0;
};

class Sampler {
 public:
  PostMark Post(uint64_t bytes, int64_t now_ns) {
    const PostMark mark{now_ns, bytes_in_flight_};
    bytes_in_flight_ += bytes;
    return mark;
  }

  // `ns_per_byte` is what the rail takes for a byte of a long transfer, as it is estimated now.
  int64_t Complete(const PostMark& mark, uint64_t bytes, double ns_per_byte, int64_t now_ns) {
    MCP_ASSERT(bytes_in_flight_ >= bytes);
    bytes_in_flight_ -= bytes;
    const int64_t waited = std::max<int64_t>(0, last_completed_ns_ - mark.posted_ns);
    last_completed_ns_ = now_ns;
    const auto busy = static_cast<int64_t>(static_cast<double>(mark.bytes_ahead) * ns_per_byte);
    return std::max<int64_t>(1, now_ns - mark.posted_ns - std::min(waited, busy));
  }

  // It will give no sample.
  void Abandon(uint64_t bytes) {
    MCP_ASSERT(bytes_in_flight_ >= bytes);
    bytes_in_flight_ -= bytes;
  }

  uint64_t bytes_in_flight() const { return bytes_in_flight_; }

 private:
  uint64_t bytes_in_flight_ = 0;
  int64_t last_completed_ns_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_SAMPLER_H_
