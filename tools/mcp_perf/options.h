// The command line of mcp-perf.
#ifndef MCP_TOOLS_MCP_PERF_OPTIONS_H_
#define MCP_TOOLS_MCP_PERF_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mcp/engine.h"
#include "mcp/session.h"
#include "tools/mcp_perf/test_kind.h"

namespace mcp::perf {

// Exit statuses of the program.
inline constexpr int kExitOk = 0;
inline constexpr int kExitTestFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNoPath = 3;

inline constexpr uint32_t kOutstandingMax = 8192;
inline constexpr uint64_t kIterationsMax = uint64_t{1} << 48;
inline constexpr int kRailsMax = 8;
inline constexpr uint16_t kDefaultPort = 18515;

// What the payload looks like. Sparse: `sparsity` is the share of 32-bit words that are zero.
struct DataSpec {
  enum class Kind { kRandom, kZeros, kWeights, kGradients, kSparse, kFile };
  Kind kind = Kind::kRandom;
  double sparsity = 0;
  std::string path;
};

struct Options {
  enum class Mode { kServer, kClient, kLoopback };
  Mode mode = Mode::kServer;
  std::string host;
  std::vector<TestKind> tests;
  std::vector<uint64_t> sizes;         // bytes
  std::optional<uint64_t> iterations;  // when absent, duration_s rules
  double duration_s = 1;               // timed seconds of each measurement
  std::optional<uint64_t> warmup;      // operations; when absent, chosen by size
  uint32_t outstanding = 16;
  std::optional<uint16_t> port;
  std::string bind;  // empty: all addresses; with --loopback, loopback_address.h
  int rails = 0;     // 0: chosen
  DataSpec data;
  bool checksum = true;
  bool verify = true;
  std::string json;  // empty: none; "-": stdout
  std::string csv;
  std::string plot;
  bool quiet = false;
  bool once = false;
  std::vector<std::string> command;  // argv
  // What was asked for and is not in this build, where the contract lets it be left out.
  std::string transport = "auto";
  std::string protocol = "auto";
  std::vector<std::string> devices;  // of verbs; empty: chosen
  int gid_index = -1;
  std::vector<Fallback> fallbacks;

  // A result document goes to stdout, so nothing else may.
  bool stdout_taken() const { return json == "-" || csv == "-"; }
};

// Either options, or text for the user and the status to exit with.
// The choice of device that the command line makes.
VerbsOptions VerbsOf(const Options& options);

struct ParsedCommandLine {
  std::optional<Options> options;
  int exit_status = kExitOk;
  std::string out;    // for stdout: help, version
  std::string error;  // for stderr
};

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv);

// "random", "sparse:0.9", "file:PATH".
absl::StatusOr<DataSpec> ParseData(absl::string_view text);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_OPTIONS_H_
