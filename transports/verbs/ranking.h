// Which ports of a host's RDMA devices carry rails, which first, and why not the others. Pure functions of what they
// are told: the transport tells what it finds, and mcp-info shows what it would choose by the same rules.
#ifndef MCP_TRANSPORTS_VERBS_RANKING_H_
#define MCP_TRANSPORTS_VERBS_RANKING_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mcp::internal {

// Who can be reached from it; each is better than those before it.
enum class GidKind : uint8_t {
  kNone,         // there is none
  kLinkLocalV1,  // RoCE v1 has no IP header, so it ends at the Ethernet segment
  kRoutableV1,
  kLinkLocalV2,
  kRoutable,  // RoCE v2 of a routable address, or InfiniBand
};
absl::string_view GidKindText(GidKind kind);

enum class GidVersion : uint8_t { kInfiniBand, kRoceV1, kRoceV2 };
// Of the 16 bytes of a GID.
GidKind KindOfGid(absl::Span<const uint8_t> gid, GidVersion version);

struct PortFacts {
  std::string name;                 // "mlx5_0/1"
  std::string why_not;              // why it can't be used at all; empty: it can
  size_t place = 0;                 // among those that were asked for, if any were: before all else
  GidKind gid = GidKind::kNone;     // the best it has
  int64_t megabits_per_second = 0;  // of the link; 0: not known
  uint32_t numa_distance = 0;       // from the CPUs that drive it (numa.h)
};

struct RankedPort {
  size_t index = 0;    // of the facts
  std::string reason;  // why it is not used; empty: it is
};

// Of one engine; a window has as many keys.
inline constexpr size_t kPortsUsedMax = 4;

// At most so many are used: those come first, the best before the others; then the rest, each with its reason. Of ports
// that are alike in everything the order stays.
std::vector<RankedPort> RankPorts(absl::Span<const PortFacts> ports, size_t used_max);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_RANKING_H_
