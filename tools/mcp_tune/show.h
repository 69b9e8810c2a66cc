// A profile for people: a table of figures, and a map of which protocol wins where.
#ifndef MCP_TOOLS_MCP_TUNE_SHOW_H_
#define MCP_TOOLS_MCP_TUNE_SHOW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/context/profile.h"

namespace mcp::internal {

// One line a point: base and rate of each protocol.
std::string ShowTable(const Profile& profile);

// For each bandwidth and latency a map: sizes across, loss downwards, the first letter of the winner; in lower case
// where the next is less than 5 % behind.
std::string ShowMaps(const Profile& profile);

// The same maps as a picture: a panel for each bandwidth and latency, a colour for each protocol, paler where the next
// is less than 5 % behind. A whole SVG document; the profile's words are escaped.
std::string ShowSvg(const Profile& profile);

// What both maps are made of. Sizes double from the first to the last.
inline constexpr uint64_t kMapBytesMin = 1 << 10;
inline constexpr uint64_t kMapBytesMax = 64 << 20;
struct MapPanel {
  std::string path;                         // "25 Gb/s, 5 us"
  std::vector<const ProfilePoint*> points;  // by loss
};
std::vector<MapPanel> MapPanels(const Profile& profile);
// The first letter of the cheapest protocol, in lower case where it is a close call.
char Winner(const ProfilePoint& point, uint64_t bytes);

}  // namespace mcp::internal

#endif  // MCP_TOOLS_MCP_TUNE_SHOW_H_
