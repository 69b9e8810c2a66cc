// The command line as text, between CLI11 and Options.
#ifndef MCP_TOOLS_MCP_PERF_RAW_OPTIONS_H_
#define MCP_TOOLS_MCP_PERF_RAW_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mcp::perf {

// The command line as given, before it is checked and turned into Options.
struct RawOptions {
  std::string host;
  bool loopback = false;
  bool once = false;
  std::string tests = "put_bw,put_lat";
  std::string sizes = "64,4K,64K,1M,16M";
  std::optional<std::string> iterations;
  std::optional<double> duration_s;
  std::optional<std::string> warmup;
  std::string outstanding = "16";
  std::optional<std::string> port;
  std::string bind;
  std::string transport = "auto";
  std::string device;
  std::optional<std::string> gid_index;
  std::optional<std::string> rails;
  std::string memory = "host";
  std::string remote_memory = "host";
  std::string protocol = "auto";
  std::string copies = "1";
  std::string codec = "none";
  double max_error = 0;
  std::string data = "random";
  std::string checksum = "all";
  bool no_verify = false;
  std::string json;
  std::string csv;
  std::string plot;
  bool quiet = false;
};

// kInvalidArgument: "--option: what".
absl::Status WrongOption(absl::string_view option, absl::string_view what);
// "--option value: this build has no ... (what to do instead)".
absl::Status NotInThisBuild(absl::string_view option, absl::string_view value, absl::string_view what,
                            absl::string_view instead);

// A whole number from min to max.
absl::Status ParseCount(absl::string_view option, const std::string& text, uint64_t min, uint64_t max, uint64_t& count);

// Refuses what the contract lists and this build does not have: nothing is replaced in silence.
absl::Status CheckAvailable(const RawOptions& raw);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_RAW_OPTIONS_H_
