#include "tools/mcp_tune/show.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/units.h"

namespace mcp::internal {
namespace {

constexpr double kCloseCall = 1.05;

std::string FormatPath(const PathFigures& path) {
  return absl::StrFormat("%g Gb/s, %g us", path.bytes_per_ns * 8, path.latency_ns / 1000);
}

}  // namespace

char Winner(const ProfilePoint& point, uint64_t bytes) {
  double best = std::numeric_limits<double>::infinity();
  double next = best;
  char letter = '?';
  for (const ProfileAlternative& known : point.alternatives) {
    const double cost = known.base_ns + known.ns_per_byte * static_cast<double>(bytes);
    if (cost < best) {
      next = std::exchange(best, cost);
      letter = absl::ascii_toupper(static_cast<unsigned char>(ProtocolName(known.alternative.protocol)[0]));
    } else {
      next = std::min(next, cost);
    }
  }
  return next < kCloseCall * best ? absl::ascii_tolower(static_cast<unsigned char>(letter)) : letter;
}

std::vector<MapPanel> MapPanels(const Profile& profile) {
  std::map<std::pair<double, double>, MapPanel> panels;
  for (const ProfilePoint& point : profile.points) {
    MapPanel& panel = panels[{point.path.bytes_per_ns, point.path.latency_ns}];
    panel.path = FormatPath(point.path);
    panel.points.push_back(&point);
  }
  std::vector<MapPanel> sorted;
  for (auto& [path, panel] : panels) {
    std::sort(panel.points.begin(), panel.points.end(),
              [](const ProfilePoint* a, const ProfilePoint* b) { return a->path.loss < b->path.loss; });
    sorted.push_back(std::move(panel));
  }
  return sorted;
}

std::string ShowTable(const Profile& profile) {
  std::string text = absl::StrCat("origin: ", profile.origin, "\n");
  absl::StrAppendFormat(&text, "%-22s %8s  %s\n", "path", "loss", "base us + us a MiB of each protocol");
  for (const ProfilePoint& point : profile.points) {
    absl::StrAppendFormat(&text, "%-22s %8g ", FormatPath(point.path), point.path.loss);
    for (const ProfileAlternative& known : point.alternatives) {
      absl::StrAppendFormat(&text, " %s%s %.1f + %.1f", ProtocolName(known.alternative.protocol),
                            known.alternative.codec == 0 ? "" : absl::StrCat("/codec", known.alternative.codec),
                            known.base_ns / 1000, known.ns_per_byte * static_cast<double>(kMiB) / 1000);
    }
    text += "\n";
  }
  return text;
}

std::string ShowMaps(const Profile& profile) {
  std::string text = "Which protocol wins: (B)ulk, (S)tream, (E)ager, (R)eplica; small letters: by less than 5 %.\n";
  for (const MapPanel& panel : MapPanels(profile)) {
    absl::StrAppend(&text, "\n", panel.path, "\n    loss  ");
    for (uint64_t bytes = kMapBytesMin; bytes <= kMapBytesMax; bytes *= 4) {
      absl::StrAppendFormat(&text, "%-8s", FormatBytes(bytes));
    }
    text += "\n";
    for (const ProfilePoint* point : panel.points) {
      absl::StrAppendFormat(&text, "%8g  ", point->path.loss);
      for (uint64_t bytes = kMapBytesMin; bytes <= kMapBytesMax; bytes *= 2) {
        absl::StrAppendFormat(&text, "%-4c", Winner(*point, bytes));
      }
      text += "\n";
    }
  }
  return text;
}

}  // namespace mcp::internal
