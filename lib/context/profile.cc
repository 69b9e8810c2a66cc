#include "lib/context/profile.h"

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/context/log2.h"
#include "nlohmann/json.hpp"

namespace mcp::internal {
namespace {

using Json = nlohmann::json;

constexpr Protocol kProtocols[] = {Protocol::kEager, Protocol::kBulk, Protocol::kStream, Protocol::kReplica};
constexpr double kLossNone = 1e-6;

absl::Status Wrong(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("profile: ", where, ": ", what));
}

// A member that must be there and be a number within [low, high].
absl::StatusOr<double> Number(const Json& object, absl::string_view where, const char* name, double low, double high) {
  if (!object.is_object()) return Wrong(where, "expected an object");
  const auto found = object.find(name);
  if (found == object.end()) return Wrong(where, absl::StrCat("no \"", name, "\""));
  if (!found->is_number()) return Wrong(where, absl::StrCat("\"", name, "\" is not a number"));
  const double value = found->get<double>();
  if (!(value >= low && value <= high)) {
    return Wrong(where, absl::StrCat("\"", name, "\" is ", value, ", expected ", low, " to ", high));
  }
  return value;
}

absl::StatusOr<const Json*> Array(const Json& object, absl::string_view where, const char* name, size_t max) {
  if (!object.is_object()) return Wrong(where, "expected an object");
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array()) return Wrong(where, absl::StrCat("no array \"", name, "\""));
  if (found->empty() || found->size() > max) {
    return Wrong(where, absl::StrCat("\"", name, "\" has ", found->size(), " entries, expected 1 to ", max));
  }
  return &*found;
}

absl::StatusOr<ProfileAlternative> ParseAlternative(const Json& json, absl::string_view where) {
  ProfileAlternative parsed;
  MCP_ASSIGN_OR_RETURN(const double rails, Number(json, where, "rails", 1, 0xffff));
  MCP_ASSIGN_OR_RETURN(const double codec, Number(json, where, "codec", 0, 0xff));
  MCP_ASSIGN_OR_RETURN(parsed.base_ns, Number(json, where, "base_ns", 0, 1e12));
  MCP_ASSIGN_OR_RETURN(parsed.ns_per_byte, Number(json, where, "ns_per_byte", 0, 1e6));
  MCP_ASSIGN_OR_RETURN(parsed.samples, Number(json, where, "samples", 0, 1e9));
  if (parsed.base_ns + parsed.ns_per_byte <= 0) return Wrong(where, "it costs nothing at all");
  parsed.alternative.rails = static_cast<uint16_t>(rails);
  parsed.alternative.codec = static_cast<uint8_t>(codec);
  const auto protocol = json.find("protocol");
  if (protocol == json.end() || !protocol->is_string()) return Wrong(where, "no \"protocol\"");
  const auto& name = protocol->get_ref<const std::string&>();
  const auto known = std::find_if(std::begin(kProtocols), std::end(kProtocols),
                                  [&](Protocol candidate) { return ProtocolName(candidate) == name; });
  if (known == std::end(kProtocols)) return Wrong(where, absl::StrCat("protocol \"", name, "\" is unknown"));
  parsed.alternative.protocol = *known;
  return parsed;
}

absl::StatusOr<ProfilePoint> ParsePoint(const Json& json, const std::string& where) {
  ProfilePoint point;
  if (!json.is_object() || !json.contains("path")) return Wrong(where, "no \"path\"");
  const Json& path = json["path"];
  MCP_ASSIGN_OR_RETURN(point.path.bytes_per_ns, Number(path, where, "bytes_per_ns", 1e-6, 1e4));
  MCP_ASSIGN_OR_RETURN(point.path.latency_ns, Number(path, where, "latency_ns", 1, 1e12));
  MCP_ASSIGN_OR_RETURN(point.path.loss, Number(path, where, "loss", 0, 1));
  MCP_ASSIGN_OR_RETURN(const Json* alternatives, Array(json, where, "alternatives", kAlternativesMax));
  for (size_t i = 0; i < alternatives->size(); ++i) {
    MCP_ASSIGN_OR_RETURN(ProfileAlternative parsed,
                         ParseAlternative((*alternatives)[i], absl::StrCat(where, ".alternatives[", i, "]")));
    point.alternatives.push_back(parsed);
  }
  return point;
}

double Squared(double value) { return value * value; }

}  // namespace

std::string FormatProfile(const Profile& profile) {
  Json json;
  json["schema"] = std::string(Profile::kSchema);
  json["origin"] = profile.origin;
  json["points"] = Json::array();
  for (const ProfilePoint& point : profile.points) {
    Json alternatives = Json::array();
    for (const ProfileAlternative& known : point.alternatives) {
      alternatives.push_back({{"protocol", std::string(ProtocolName(known.alternative.protocol))},
                              {"rails", known.alternative.rails},
                              {"codec", known.alternative.codec},
                              {"base_ns", known.base_ns},
                              {"ns_per_byte", known.ns_per_byte},
                              {"samples", known.samples}});
    }
    json["points"].push_back({{"path",
                               {{"bytes_per_ns", point.path.bytes_per_ns},
                                {"latency_ns", point.path.latency_ns},
                                {"loss", point.path.loss}}},
                              {"alternatives", std::move(alternatives)}});
  }
  // Text that is not UTF-8 in `origin` is replaced rather than thrown at the caller.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Profile> ParseProfile(absl::string_view text) {
  if (text.size() > Profile::kBytesMax) {
    return Wrong("text", absl::StrCat(text.size(), " bytes, at most ", Profile::kBytesMax));
  }
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return Wrong("text", "not a JSON object");
  const auto schema = json.find("schema");
  if (schema == json.end() || !schema->is_string()) return Wrong("text", "no \"schema\"");
  if (schema->get_ref<const std::string&>() != Profile::kSchema) {
    return Wrong("schema", absl::StrCat("\"", schema->get_ref<const std::string&>(), "\", expected \"",
                                        Profile::kSchema, "\": make it again with this version's mcp-tune"));
  }
  Profile profile;
  const auto origin = json.find("origin");
  if (origin != json.end() && origin->is_string()) profile.origin = origin->get<std::string>();
  MCP_ASSIGN_OR_RETURN(const Json* points, Array(json, "text", "points", Profile::kPointsMax));
  for (size_t i = 0; i < points->size(); ++i) {
    MCP_ASSIGN_OR_RETURN(ProfilePoint point, ParsePoint((*points)[i], absl::StrCat("points[", i, "]")));
    profile.points.push_back(std::move(point));
  }
  return profile;
}

const ProfilePoint& NearestPoint(const Profile& profile, const PathFigures& path) {
  MCP_ASSERT(!profile.points.empty());
  const ProfilePoint* nearest = &profile.points.front();
  double nearest_distance = std::numeric_limits<double>::infinity();
  for (const ProfilePoint& point : profile.points) {
    double distance = Squared(Log2(std::max(point.path.loss, kLossNone) / std::max(path.loss, kLossNone)));
    if (path.bytes_per_ns > 0) distance += Squared(Log2(point.path.bytes_per_ns / path.bytes_per_ns));
    if (path.latency_ns > 0) distance += Squared(Log2(point.path.latency_ns / path.latency_ns));
    if (distance >= nearest_distance) continue;
    nearest = &point;
    nearest_distance = distance;
  }
  return *nearest;
}

namespace {

// On the same rails if the point has that, else the same way on others; null if neither.
const ProfileAlternative* FindKnown(const ProfilePoint& point, const Alternative& wanted) {
  const ProfileAlternative* found = nullptr;
  for (const ProfileAlternative& known : point.alternatives) {
    const Alternative& offered = known.alternative;
    if (offered.protocol != wanted.protocol || offered.codec != wanted.codec || known.samples <= 0) continue;
    if (offered.rails == wanted.rails) return &known;
    if (found == nullptr) found = &known;
  }
  return found;
}

}  // namespace

uint32_t SeedFromPoint(const ProfilePoint& point, absl::Span<const Alternative> alternatives, Advisor* advisor,
                       uint32_t peer) {
  uint32_t seeded = 0;
  for (size_t i = 0; i < alternatives.size(); ++i) {
    const ProfileAlternative* known = FindKnown(point, alternatives[i]);
    if (known == nullptr) continue;
    advisor->Seed(peer, static_cast<uint8_t>(i), known->base_ns, known->ns_per_byte,
                  std::min(known->samples, Profile::kSeedSamplesMax));
    ++seeded;
  }
  return seeded;
}

}  // namespace mcp::internal
