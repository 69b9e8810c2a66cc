#include "transports/verbs/ranking.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace mcp::internal {
namespace {

// The smaller the better.
auto Order(const PortFacts& port) {
  return std::tuple(!port.why_not.empty(), port.place, -static_cast<int>(port.gid), -port.megabits_per_second,
                    port.numa_distance);
}

// Where `port` first falls behind the last of those that are used.
std::string WhyBehind(const PortFacts& port, const PortFacts& last) {
  if (port.place != last.place) return "asked for later";
  if (port.gid != last.gid) {
    return absl::StrCat("its best GID is ", GidKindText(port.gid), ", theirs ", GidKindText(last.gid));
  }
  if (port.megabits_per_second != last.megabits_per_second) {
    return absl::StrCat("it has ", port.megabits_per_second, " Mb/s, they ", last.megabits_per_second, " or more");
  }
  if (port.numa_distance != last.numa_distance) {
    return absl::StrCat("its NUMA distance is ", port.numa_distance, ", theirs ", last.numa_distance, " or less");
  }
  return "it is as good, and comes later";
}

}  // namespace

absl::string_view GidKindText(GidKind kind) {
  switch (kind) {
    case GidKind::kNone:
      return "none";
    case GidKind::kLinkLocalV1:
      return "link-local, of RoCE v1";
    case GidKind::kRoutableV1:
      return "of RoCE v1";
    case GidKind::kLinkLocalV2:
      return "link-local";
    case GidKind::kRoutable:
      return "routable";
  }
  return "";
}

GidKind KindOfGid(absl::Span<const uint8_t> gid, GidVersion version) {
  if (std::all_of(gid.begin(), gid.end(), [](uint8_t byte) { return byte == 0; })) return GidKind::kNone;
  const bool link_local = gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
  switch (version) {
    case GidVersion::kRoceV1:
      return link_local ? GidKind::kLinkLocalV1 : GidKind::kRoutableV1;
    case GidVersion::kRoceV2:
      return link_local ? GidKind::kLinkLocalV2 : GidKind::kRoutable;
    case GidVersion::kInfiniBand:
      break;
  }
  return GidKind::kRoutable;  // by its subnet manager, whatever its prefix
}

std::vector<RankedPort> RankPorts(absl::Span<const PortFacts> ports, size_t used_max) {
  std::vector<RankedPort> ranked(ports.size());
  for (size_t i = 0; i < ports.size(); ++i) ranked[i].index = i;
  std::stable_sort(ranked.begin(), ranked.end(), [&](const RankedPort& a, const RankedPort& b) {
    return Order(ports[a.index]) < Order(ports[b.index]);
  });
  for (size_t i = 0; i < ranked.size(); ++i) {
    const PortFacts& port = ports[ranked[i].index];
    if (!port.why_not.empty()) {
      ranked[i].reason = port.why_not;
    } else if (i >= used_max) {
      ranked[i].reason =
          absl::StrCat("no more than ", used_max,
                       " are used, and others are preferred: ", WhyBehind(port, ports[ranked[used_max - 1].index]));
    }
  }
  return ranked;
}

}  // namespace mcp::internal
