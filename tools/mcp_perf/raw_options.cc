#include "tools/mcp_perf/raw_options.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/measurement.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {

absl::Status WrongOption(absl::string_view option, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(option, ": ", what));
}

absl::Status NotInThisBuild(absl::string_view option, absl::string_view value, absl::string_view what,
                            absl::string_view instead) {
  return WrongOption(absl::StrCat(option, value.empty() ? "" : " ", value),
                     absl::StrCat("this build has no ", what, " (", instead, ")"));
}

// CLI11's own conversion would take "-5" for a large count.
absl::Status ParseCount(absl::string_view option, const std::string& text, uint64_t min, uint64_t max,
                        uint64_t& count) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) return WrongOption(option, absl::StrCat("\"", text, "\" is not a whole number"));
  if (!absl::SimpleAtoi(text, &count) || count < min || count > max) {
    return WrongOption(option, absl::StrCat(text, " is outside ", min, " to ", max));
  }
  return absl::OkStatus();
}

absl::Status CheckAvailable(const RawOptions& raw) {
  if (raw.transport != "auto" && raw.transport != "tcp" && raw.transport != "verbs") {
    return WrongOption("--transport", absl::StrCat("\"", raw.transport, "\" is not one of auto, verbs, tcp"));
  }
  if (raw.transport == "tcp" && (!raw.device.empty() || raw.gid_index)) {
    return WrongOption(raw.device.empty() ? "--gid-index" : "--device",
                       "tcp follows the routes to HOST: this goes with --transport verbs or auto");
  }
  if (absl::StartsWith(raw.device, ",") || absl::EndsWith(raw.device, ",") || absl::StrContains(raw.device, ",,")) {
    return WrongOption("--device", absl::StrCat("\"", raw.device, "\" has a name of no length"));
  }
  for (const auto& [option, value] : {std::pair("--memory", raw.memory), {"--remote-memory", raw.remote_memory}}) {
    if (value == "host") continue;
    if (value != "cuda" && !absl::StartsWith(value, "cuda:")) {
      return WrongOption(option, absl::StrCat("\"", value, "\" is not host or cuda[:N]"));
    }
    return NotInThisBuild(option, value, "CUDA memory", "use host");
  }
  if (!IsProtocol(raw.protocol)) {
    return WrongOption("--protocol", absl::StrCat("\"", raw.protocol, "\" is not one of auto, eager, bulk, stream"));
  }
  uint64_t copies = 0;
  MCP_PERF_RETURN_IF_ERROR(ParseCount("--copies", raw.copies, 1, 64, copies));
  if (copies != 1) return NotInThisBuild("--copies", raw.copies, "replicas", "use 1");
  if (raw.codec != "none") return NotInThisBuild("--codec", raw.codec, "codecs", "use none");
  if (raw.max_error != 0) {
    return NotInThisBuild("--max-error", absl::StrCat(raw.max_error), "codecs that may err", "use 0");
  }
  if (raw.host.find(',') != std::string::npos) {
    return NotInThisBuild("HOST", raw.host, "replicas, so it takes one server", "name one");
  }
  return absl::OkStatus();
}

}  // namespace mcp::perf
