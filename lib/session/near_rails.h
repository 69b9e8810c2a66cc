// Which rails are nearest to memory: by how far the devices that carry them are from its node.
//
// Pure functions. What a session does with them is in session_nearness.cc.
#ifndef MCP_LIB_SESSION_NEAR_RAILS_H_
#define MCP_LIB_SESSION_NEAR_RAILS_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "lib/memory/memory_node.h"
#include "lib/session/rail_mask.h"

namespace mcp::internal {

// For memory of each node the rails that are nearest to it; none where all are as near, and for memory of no node.
using NearRails = std::array<RailMask, kMemoryNodes>;

// `distances`: of the device of each rail. One that is not known counts as the device's own node: nothing says that it
// is farther than others. Of the rails, those in `up` count.
inline NearRails NearestRails(absl::Span<const NodeDistances> distances, RailMask up) {
  NearRails near{};
  for (size_t node = kNoNode + 1; node < kMemoryNodes; ++node) {
    uint8_t nearest = UINT8_MAX;
    RailMask rails = 0;
    for (size_t rail = 0; rail < distances.size(); ++rail) {
      if ((up >> rail & 1) == 0) continue;
      const uint8_t known = distances[rail][node];
      const uint8_t distance = known == 0 ? kOwnNodeDistance : known;
      if (distance > nearest) continue;
      if (distance < nearest) rails = 0;
      nearest = distance;
      rails |= RailMask{1} << rail;
    }
    if (rails != up) near[node] = rails;
  }
  return near;
}

// What a rail that is not near counts as having before it besides what it has. A read of memory across sockets takes a
// device some 100 ns longer (Neugebauer et al., "Understanding PCIe performance for end host networking", SIGCOMM
// 2018), in which one of 200 Gb/s moves about half of this. So a burst of small operations goes by the near rail, and
// long ones, which take longer than that, by whichever rail has less to do.
inline constexpr int64_t kFarBytes = 4096;
// What an operation takes a device, however short it is.
inline constexpr int64_t kOperationBytesMin = 256;

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_NEAR_RAILS_H_
