// A profile: what protocols cost on paths of known bandwidth, latency and loss, measured beforehand, as JSON.
//
//   {"schema": "mcp-profile/1", "origin": "simulated, seed 1",
//    "points": [{"path": {"bytes_per_ns": 25, "latency_ns": 5000, "loss": 0},
//                "alternatives": [{"protocol": "bulk", "rails": 1, "codec": 0,
//                                  "base_ns": 22000, "ns_per_byte": 0.056, "samples": 200}, ...]}, ...]}
//
// An advisor that was seeded from the point nearest to its path decides as one that has measured.
#ifndef MCP_LIB_CONTEXT_PROFILE_H_
#define MCP_LIB_CONTEXT_PROFILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/context/advisor.h"
#include "mcp/context.h"

namespace mcp::internal {

inline constexpr double kProfilePacketBytes = 4096;

struct PathFigures {
  double bytes_per_ns = 0;
  double latency_ns = 0;  // one way
  double loss = 0;        // share of packets of kProfilePacketBytes
};

struct ProfileAlternative {
  Alternative alternative;  // bytes_max is not kept: it is the transport's to say
  double base_ns = 0;
  double ns_per_byte = 0;
  double samples = 0;
};

struct ProfilePoint {
  PathFigures path;
  std::vector<ProfileAlternative> alternatives;
};

struct Profile {
  static constexpr absl::string_view kSchema = "mcp-profile/1";
  static constexpr size_t kPointsMax = 4096;
  static constexpr size_t kBytesMax = 8 << 20;  // of the text
  // What a seed counts for at most: a path that differs from its profile is believed soon.
  static constexpr double kSeedSamplesMax = 16;

  std::string origin;
  std::vector<ProfilePoint> points;
};

std::string FormatProfile(const Profile& profile);
// kInvalidArgument says which field of which point is wrong, or that it is of another version.
absl::StatusOr<Profile> ParseProfile(absl::string_view json);

// In logarithms of bandwidth and latency and of loss (where 1e-6 is none). A bandwidth or latency of 0 is unknown, and
// any will do. The profile has points.
const ProfilePoint& NearestPoint(const Profile& profile, const PathFigures& path);

// Gives each alternative of the peer that the point knows, on those rails or on others, its figures. Returns how many
// that were.
uint32_t SeedFromPoint(const ProfilePoint& point, absl::Span<const Alternative> alternatives, Advisor* advisor,
                       uint32_t peer);

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_PROFILE_H_
