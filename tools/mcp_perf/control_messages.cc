#include "tools/mcp_perf/control_messages.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "mcp/engine.h"
#include "tools/mcp_perf/options.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

constexpr uint64_t kUintMax = std::numeric_limits<uint64_t>::max();
constexpr int kLanesMax = 64;
constexpr size_t kFallbacksMax = 16;

std::string Dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

absl::Status WrongField(const Json& message, const char* field, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("control message \"", MessageType(message), "\": field \"", field, "\": ", what));
}

absl::StatusOr<const Json*> Field(const Json& message, const char* field) {
  const auto found = message.find(field);
  if (found == message.end()) return WrongField(message, field, "missing");
  return &*found;
}

// Not the whole of a nested value: dumping one recurses as deep as the peer nested it.
std::string Shown(const Json& value) {
  return value.is_structured() ? absl::StrCat("an ", value.type_name()) : Dump(value).substr(0, 100);
}

}  // namespace

absl::StatusOr<std::string> EncodeMessage(const Json& message) {
  std::string bytes = Dump(message);
  if (bytes.size() > kControlBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat("control message \"", MessageType(message), "\" of ", bytes.size(),
                                                     " bytes is over ", kControlBytesMax));
  }
  return bytes;
}

absl::StatusOr<Json> DecodeMessage(absl::string_view bytes) {
  if (bytes.size() > kControlBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("control message of ", bytes.size(), " bytes"));
  }
  Json message = Json::parse(bytes.begin(), bytes.end(), nullptr, /*allow_exceptions=*/false);
  if (!message.is_object()) return absl::InvalidArgumentError("control message is not a JSON object");
  if (MessageType(message).empty()) return absl::InvalidArgumentError("control message has no \"type\"");
  return message;
}

std::string MessageType(const Json& message) {
  const auto type = message.find("type");
  return type != message.end() && type->is_string() ? type->get<std::string>().substr(0, 100) : "";
}

absl::Status ExpectType(const Json& message, absl::string_view type) {
  const std::string got = MessageType(message);
  if (got == type) return absl::OkStatus();
  if (got == "error") {
    MCP_PERF_ASSIGN_OR_RETURN(const std::string text, TextField(message, "message"));
    return absl::AbortedError(absl::StrCat("the peer says: ", text));
  }
  return absl::InvalidArgumentError(absl::StrCat("control message \"", got, "\" where \"", type, "\" was due"));
}

Json ErrorMessage(const absl::Status& status) {
  return {{"type", "error"}, {"message", std::string(status.message()).substr(0, kControlTextMax)}};
}

absl::StatusOr<uint64_t> UintField(const Json& message, const char* field, uint64_t min, uint64_t max) {
  MCP_PERF_ASSIGN_OR_RETURN(const Json* value, Field(message, field));
  if (!value->is_number_unsigned()) return WrongField(message, field, absl::StrCat(Shown(*value), " is not a count"));
  const uint64_t count = value->get<uint64_t>();
  if (count < min || count > max) {
    return WrongField(message, field, absl::StrCat(count, " is outside ", min, " to ", max));
  }
  return count;
}

absl::StatusOr<bool> BoolField(const Json& message, const char* field) {
  MCP_PERF_ASSIGN_OR_RETURN(const Json* value, Field(message, field));
  if (!value->is_boolean()) return WrongField(message, field, absl::StrCat(Shown(*value), " is not true or false"));
  return value->get<bool>();
}

absl::StatusOr<std::string> TextField(const Json& message, const char* field) {
  MCP_PERF_ASSIGN_OR_RETURN(const Json* value, Field(message, field));
  if (!value->is_string()) return WrongField(message, field, absl::StrCat(Shown(*value), " is not a text"));
  const std::string& text = value->get_ref<const std::string&>();
  if (text.size() > kControlTextMax) {
    return WrongField(message, field, absl::StrCat(text.size(), " bytes are more than ", kControlTextMax));
  }
  return text;
}

Json EncodeHello(const HostInfo& host) {
  return {{"type", "hello"},   {"protocol", kControlProtocol}, {"version", std::string(Version())},
          {"host", host.host}, {"cpu_model", host.cpu_model},  {"kernel", host.kernel},
          {"cpus", host.cpus}};
}

absl::StatusOr<HostInfo> DecodeHello(const Json& message) {
  MCP_PERF_RETURN_IF_ERROR(ExpectType(message, "hello"));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t protocol, UintField(message, "protocol", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(const std::string version, TextField(message, "version"));
  if (protocol != kControlProtocol) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the peer is mcp-perf ", version, " and speaks version ", protocol, " of the control protocol; this is ",
        std::string(Version()), " and speaks version ", kControlProtocol, " (install the same version on both sides)"));
  }
  HostInfo host;
  MCP_PERF_ASSIGN_OR_RETURN(host.host, TextField(message, "host"));
  MCP_PERF_ASSIGN_OR_RETURN(host.cpu_model, TextField(message, "cpu_model"));
  MCP_PERF_ASSIGN_OR_RETURN(host.kernel, TextField(message, "kernel"));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t cpus, UintField(message, "cpus", 1, 1 << 20));
  host.cpus = static_cast<int>(cpus);
  return host;
}

Json EncodeSpec(const TestSpec& spec) {
  const Layout& layout = spec.layout;
  return {{"type", "prepare"},           {"test", spec.test.name},
          {"size", layout.size},         {"stride", layout.stride},
          {"slots", layout.slots},       {"step", layout.step},
          {"phases", layout.phases},     {"outstanding", layout.outstanding},
          {"receives", layout.receives}, {"lanes", spec.lanes},
          {"rails", spec.rails},         {"checksum", spec.checksum},
          {"verify", spec.verify},       {"transport", spec.transport},
          {"protocol", spec.protocol}};
}

absl::StatusOr<TestSpec> DecodeSpec(const Json& message) {
  MCP_PERF_RETURN_IF_ERROR(ExpectType(message, "prepare"));
  TestSpec spec;
  MCP_PERF_ASSIGN_OR_RETURN(const std::string name, TextField(message, "test"));
  const std::optional<TestKind> test = FindTestKind(name);
  if (!test) return WrongField(message, "test", absl::StrCat("this side has no test \"", name.substr(0, 100), "\""));
  spec.test = *test;
  Layout& layout = spec.layout;
  MCP_PERF_ASSIGN_OR_RETURN(layout.size, UintField(message, "size", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(layout.stride, UintField(message, "stride", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(layout.slots, UintField(message, "slots", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(layout.step, UintField(message, "step", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(layout.phases, UintField(message, "phases", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(layout.outstanding, UintField(message, "outstanding", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(layout.receives, UintField(message, "receives", 0, kUintMax));
  MCP_PERF_RETURN_IF_ERROR(CheckLayout(layout));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t lanes, UintField(message, "lanes", 0, kLanesMax));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t rails, UintField(message, "rails", 1, kRailsMax));
  spec.lanes = static_cast<int>(lanes);
  spec.rails = static_cast<int>(rails);
  MCP_PERF_ASSIGN_OR_RETURN(spec.checksum, BoolField(message, "checksum"));
  MCP_PERF_ASSIGN_OR_RETURN(spec.verify, BoolField(message, "verify"));
  MCP_PERF_ASSIGN_OR_RETURN(spec.transport, TextField(message, "transport"));
  if (spec.transport != "auto" && spec.transport != "verbs" && spec.transport != "tcp") {
    return WrongField(message, "transport", absl::StrCat(spec.transport, " is not one of auto, verbs, tcp"));
  }
  MCP_PERF_ASSIGN_OR_RETURN(spec.protocol, TextField(message, "protocol"));
  if (!IsProtocol(spec.protocol)) {
    return WrongField(message, "protocol", absl::StrCat(spec.protocol, " is not one of auto, eager, bulk, stream"));
  }
  if (spec.test.latency != (spec.lanes == 0)) {
    return WrongField(message, "lanes", absl::StrCat(spec.lanes, " does not go with ", spec.test.name));
  }
  const bool receives = spec.test.operation == Operation::kSend;
  if (receives != (layout.receives > 0) || (receives && spec.verify && layout.slots % layout.receives != 0)) {
    return WrongField(
        message, "receives",
        absl::StrCat(layout.receives, " does not go with ", spec.test.name, " and ", layout.slots, " slots"));
  }
  return spec;
}

Json EncodePath(const PathInfo& path) {
  Json fallbacks = Json::array();
  for (const Fallback& fallback : path.fallbacks) {
    fallbacks.push_back({{"wanted", fallback.wanted}, {"used", fallback.used}, {"reason", fallback.reason}});
  }
  return {{"type", "ready"},
          {"transport", path.transport},
          {"device", path.device},
          {"rails", path.rails},
          {"fallbacks", fallbacks}};
}

absl::StatusOr<PathInfo> DecodePath(const Json& message) {
  MCP_PERF_RETURN_IF_ERROR(ExpectType(message, "ready"));
  PathInfo path;
  MCP_PERF_ASSIGN_OR_RETURN(path.transport, TextField(message, "transport"));
  MCP_PERF_ASSIGN_OR_RETURN(path.device, TextField(message, "device"));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t rails, UintField(message, "rails", 0, 1024));
  path.rails = static_cast<int>(rails);
  MCP_PERF_ASSIGN_OR_RETURN(const Json* fallbacks, Field(message, "fallbacks"));
  if (!fallbacks->is_array() || fallbacks->size() > kFallbacksMax) {
    return WrongField(message, "fallbacks", "not a list of at most 16");
  }
  for (const Json& entry : *fallbacks) {
    if (!entry.is_object()) return WrongField(message, "fallbacks", absl::StrCat(Shown(entry), " is not an object"));
    Fallback fallback;
    MCP_PERF_ASSIGN_OR_RETURN(fallback.wanted, TextField(entry, "wanted"));
    MCP_PERF_ASSIGN_OR_RETURN(fallback.used, TextField(entry, "used"));
    MCP_PERF_ASSIGN_OR_RETURN(fallback.reason, TextField(entry, "reason"));
    path.fallbacks.push_back(std::move(fallback));
  }
  return path;
}

void EncodeCounters(const SideCounters& counters, Json& message) {
  message["cpu_ns"] = static_cast<uint64_t>(counters.cpu_ns);
  message["wire_bytes_sent"] = counters.wire_bytes_sent;
  message["retransmitted_tiles"] = counters.retransmitted_tiles;
  message["checksum_failures"] = counters.checksum_failures;
  message["announced"] = counters.announced;
  message["streamed"] = counters.streamed;
  message["protocol_switches"] = counters.protocol_switches;
}

absl::StatusOr<SideCounters> DecodeCounters(const Json& message) {
  SideCounters counters;
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t cpu_ns, UintField(message, "cpu_ns", 0, uint64_t{1} << 60));
  counters.cpu_ns = static_cast<int64_t>(cpu_ns);
  MCP_PERF_ASSIGN_OR_RETURN(counters.wire_bytes_sent, UintField(message, "wire_bytes_sent", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(counters.retransmitted_tiles, UintField(message, "retransmitted_tiles", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(counters.checksum_failures, UintField(message, "checksum_failures", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(counters.announced, UintField(message, "announced", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(counters.streamed, UintField(message, "streamed", 0, kUintMax));
  MCP_PERF_ASSIGN_OR_RETURN(counters.protocol_switches, UintField(message, "protocol_switches", 0, kUintMax));
  return counters;
}

std::string EncodeRegion(const RemoteRegion& region) { return absl::BytesToHexString(region.Serialize()); }

absl::StatusOr<RemoteRegion> RegionField(const Json& message, const char* field) {
  MCP_PERF_ASSIGN_OR_RETURN(const std::string text, TextField(message, field));
  for (const char digit : text) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return WrongField(message, field, "not hexadecimal");
  }
  if (text.size() % 2 != 0 || text.size() > 2 * RemoteRegion::kSerializedBytesMax) {
    return WrongField(message, field, absl::StrCat(text.size(), " digits are not a region"));
  }
  absl::StatusOr<RemoteRegion> region = RemoteRegion::Parse(absl::HexStringToBytes(text));
  if (!region.ok()) return WrongField(message, field, region.status().message());
  return region;
}

}  // namespace mcp::perf
