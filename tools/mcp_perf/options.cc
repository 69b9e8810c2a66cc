#include "tools/mcp_perf/options.h"

#include <algorithm>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mcp/engine.h"
#include "tools/mcp_perf/raw_options.h"
#include "tools/mcp_perf/sizes.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

void Declare(CLI::App& app, RawOptions& raw) {
  app.add_option("HOST", raw.host, "the server to test against; without it (and --loopback) this is the server");
  app.add_flag("--loopback", raw.loopback, "both sides on this host, as two processes");
  app.add_flag("--once", raw.once, "server: end after one client");
  app.add_option("-t,--test", raw.tests, "NAME[,NAME...]: put_bw put_lat get_bw get_lat send_bw send_lat, or all")
      ->capture_default_str();
  app.add_option("-s,--size", raw.sizes, "S[,S...] or MIN:MAX (powers of two): bytes, with K M G")
      ->capture_default_str();
  app.add_option("-n,--iterations", raw.iterations, "operations of each measurement (instead of --duration)");
  app.add_option("-D,--duration", raw.duration_s, "timed seconds of each measurement [1]");
  app.add_option("-w,--warmup", raw.warmup, "operations that are not counted [by size]");
  app.add_option("-o,--outstanding", raw.outstanding, "operations in flight (bandwidth tests)")->capture_default_str();
  app.add_option("-p,--port", raw.port, "where to listen or connect [18515]; data goes over PORT+1 where it is free");
  app.add_option("-B,--bind", raw.bind, "address to listen on [all; with --loopback an RDMA device's, else 127.0.0.1]");
  app.add_option("--transport", raw.transport, "auto|verbs|tcp; auto: verbs where both sides can, else tcp")
      ->capture_default_str();
  app.add_option("--device", raw.device, "NAME[/PORT][,...]: devices of verbs, in the order in which rails take them");
  app.add_option("--gid-index", raw.gid_index, "GID of verbs");
  app.add_option("--rails", raw.rails, "connections to stripe over, 1 to 8 [chosen]");
  app.add_option("--memory", raw.memory, "host|cuda[:N]: where this side's buffers live")->capture_default_str();
  app.add_option("--remote-memory", raw.remote_memory, "host|cuda[:N]: where the peer's live")->capture_default_str();
  app.add_option("--protocol", raw.protocol,
                 "auto|eager|bulk|stream: how messages of the send tests travel, where they can")
      ->capture_default_str();
  app.add_option("--copies", raw.copies, "replicas")->capture_default_str();
  app.add_option("--codec", raw.codec, "none|auto|NAME")->capture_default_str();
  app.add_option("--max-error", raw.max_error, "relative error that a codec may make")->capture_default_str();
  app.add_option("--data", raw.data, "random|zeros|weights|gradients|sparse:F|file:PATH: what is in the buffers")
      ->capture_default_str();
  app.add_option("--checksum", raw.checksum, "all|off: checksums of tiles")->capture_default_str();
  app.add_flag("--no-verify", raw.no_verify, "skip the check that what arrived is what was sent");
  app.add_option("--json", raw.json, "results as JSON, schema mcp-perf/1 (- is stdout)");
  app.add_option("--csv", raw.csv, "results as CSV (- is stdout)");
  app.add_option("--plot", raw.plot, "FILE.svg: bandwidth and latency over size");
  app.add_flag("--quiet", raw.quiet, "no progress bar");
}

absl::Status ParseTests(absl::string_view text, Options& options) {
  if (text == "all") {
    options.tests.assign(kTestKinds.begin(), kTestKinds.end());
    options.fallbacks.push_back({std::string(kReplicateTest), "none", "this build has no replicas"});
    return absl::OkStatus();
  }
  for (const absl::string_view name : absl::StrSplit(text, ',')) {
    if (name == kReplicateTest) return NotInThisBuild("--test", name, "replicas", "choose another test");
    const std::optional<TestKind> kind = FindTestKind(name);
    if (!kind) {
      std::vector<std::string> names;
      for (const TestKind& known : kTestKinds) names.push_back(known.name);
      return WrongOption("--test", absl::StrCat("\"", name, "\" is not one of ", absl::StrJoin(names, ", "), ", all"));
    }
    options.tests.push_back(*kind);
  }
  return absl::OkStatus();
}

absl::Status ParseHost(const RawOptions& raw, Options& options) {
  options.host = raw.host;
  if (raw.loopback && !raw.host.empty()) {
    return WrongOption("--loopback", absl::StrCat("takes no HOST, and \"", raw.host, "\" was given"));
  }
  options.mode = raw.loopback       ? Options::Mode::kLoopback
                 : raw.host.empty() ? Options::Mode::kServer
                                    : Options::Mode::kClient;
  if (raw.once && options.mode != Options::Mode::kServer) return WrongOption("--once", "is for the server alone");
  if (options.mode == Options::Mode::kClient && !raw.bind.empty()) {
    return NotInThisBuild("--bind", raw.bind, "choice of the client's own address", "it is for the server");
  }
  // [::1] is taken as ::1; one colon is a port, which has an option of its own.
  std::string& host = options.host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const size_t colon = host.find(':');
  if (colon != std::string::npos && host.find(':', colon + 1) == std::string::npos) {
    return WrongOption("HOST", absl::StrCat("\"", host, "\" names a port: give that with --port"));
  }
  options.bind = raw.bind;
  if (options.bind.size() > 2 && options.bind.front() == '[' && options.bind.back() == ']') {
    options.bind = options.bind.substr(1, options.bind.size() - 2);
  }
  return absl::OkStatus();
}

absl::Status CheckNumbers(const RawOptions& raw, Options& options) {
  uint64_t count = 0;
  if (raw.iterations && raw.duration_s) return WrongOption("--iterations", "and --duration exclude each other");
  if (raw.iterations) {
    MCP_PERF_RETURN_IF_ERROR(ParseCount("--iterations", *raw.iterations, 1, kIterationsMax, count));
    options.iterations = count;
  }
  options.duration_s = raw.duration_s.value_or(1);
  if (!(options.duration_s >= 0.001 && options.duration_s <= 86400)) {
    return WrongOption("--duration", absl::StrCat(options.duration_s, " is outside 0.001 to 86400 seconds"));
  }
  if (raw.warmup) {
    MCP_PERF_RETURN_IF_ERROR(ParseCount("--warmup", *raw.warmup, 0, kIterationsMax, count));
    options.warmup = count;
  }
  MCP_PERF_RETURN_IF_ERROR(ParseCount("--outstanding", raw.outstanding, 1, kOutstandingMax, count));
  options.outstanding = static_cast<uint32_t>(count);
  if (raw.port) {
    // Port 0 is a free one: of use where the listener's choice is seen.
    const uint64_t min = options.mode == Options::Mode::kClient ? 1 : 0;
    MCP_PERF_RETURN_IF_ERROR(ParseCount("--port", *raw.port, min, 65535, count));
    options.port = static_cast<uint16_t>(count);
  }
  if (raw.rails) {
    MCP_PERF_RETURN_IF_ERROR(ParseCount("--rails", *raw.rails, 1, kRailsMax, count));
    options.rails = static_cast<int>(count);
  }
  return absl::OkStatus();
}

absl::Status CheckOutputs(const RawOptions& raw, Options& options) {
  if (raw.json == "-" && raw.csv == "-") return WrongOption("--csv", "stdout is taken by --json -");
  if (raw.plot == "-") return WrongOption("--plot", "writes to a file, not to stdout");
  options.json = raw.json;
  options.csv = raw.csv;
  options.plot = raw.plot;
  options.quiet = raw.quiet;
  return absl::OkStatus();
}

absl::StatusOr<Options> Check(const RawOptions& raw) {
  Options options;
  MCP_PERF_RETURN_IF_ERROR(CheckAvailable(raw));
  MCP_PERF_RETURN_IF_ERROR(ParseTests(raw.tests, options));
  const bool sends = std::any_of(options.tests.begin(), options.tests.end(),
                                 [](const TestKind& test) { return test.operation == Operation::kSend; });
  if (raw.protocol != "auto" && !sends) {
    return WrongOption("--protocol", "is for messages: it goes with send_bw and send_lat");
  }
  MCP_PERF_RETURN_IF_ERROR(ParseHost(raw, options));
  MCP_PERF_RETURN_IF_ERROR(CheckNumbers(raw, options));
  MCP_PERF_RETURN_IF_ERROR(CheckOutputs(raw, options));
  absl::StatusOr<std::vector<uint64_t>> sizes = ParseSizes(raw.sizes);
  if (!sizes.ok()) return WrongOption("--size", sizes.status().message());
  options.sizes = *std::move(sizes);
  absl::StatusOr<DataSpec> data = ParseData(raw.data);
  if (!data.ok()) return WrongOption("--data", data.status().message());
  options.data = *std::move(data);
  if (raw.checksum != "all" && raw.checksum != "off") {
    return WrongOption("--checksum", absl::StrCat("\"", raw.checksum, "\" is not one of all, off"));
  }
  options.checksum = raw.checksum == "all";
  options.verify = !raw.no_verify;
  options.once = raw.once;
  options.transport = raw.transport;
  options.protocol = raw.protocol;
  options.devices = absl::StrSplit(raw.device, ',', absl::SkipEmpty());
  if (raw.gid_index) {
    uint64_t index = 0;
    MCP_PERF_RETURN_IF_ERROR(ParseCount("--gid-index", *raw.gid_index, 0, 255, index));
    options.gid_index = static_cast<int>(index);
  }
  return options;
}

}  // namespace

VerbsOptions VerbsOf(const Options& options) {
  VerbsOptions verbs;
  verbs.devices = options.devices;
  verbs.gid_index = options.gid_index;
  return verbs;
}

absl::StatusOr<DataSpec> ParseData(absl::string_view text) {
  DataSpec spec;
  if (text == "random") return spec;
  if (text == "zeros" || text == "weights" || text == "gradients") {
    spec.kind = text == "zeros"     ? DataSpec::Kind::kZeros
                : text == "weights" ? DataSpec::Kind::kWeights
                                    : DataSpec::Kind::kGradients;
    return spec;
  }
  if (absl::StartsWith(text, "sparse:")) {
    spec.kind = DataSpec::Kind::kSparse;
    if (!absl::SimpleAtod(text.substr(7), &spec.sparsity) || !(spec.sparsity >= 0 && spec.sparsity <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": the share of zeros is a number from 0 to 1"));
    }
    return spec;
  }
  if (absl::StartsWith(text, "file:") && text.size() > 5) {
    spec.kind = DataSpec::Kind::kFile;
    spec.path = std::string(text.substr(5));
    return spec;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not one of random, zeros, weights, gradients, sparse:F, file:PATH"));
}

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv) {
  RawOptions raw;
  CLI::App app("Bandwidth and latency of mcp between two processes, every byte verified.", "mcp-perf");
  app.set_version_flag("--version", std::string(Version()));
  app.footer(
      "mcp-perf [options]              the server: waits for clients until interrupted\n"
      "mcp-perf [options] HOST         the client: its options rule both sides\n"
      "mcp-perf [options] --loopback   both sides on this host\n"
      "Exit status: 0 all ran and verified, 1 a test failed, 2 wrong usage, 3 no path to the peer.");
  ParsedCommandLine parsed;
  try {
    Declare(app, raw);
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream out, unused;
    app.exit(success, out, unused);
    parsed.out = out.str();
    return parsed;
  } catch (const CLI::Error& error) {
    parsed.exit_status = kExitUsage;
    parsed.error = absl::StrCat("mcp-perf: ", error.what(), " (mcp-perf --help lists the options)\n");
    return parsed;
  }
  absl::StatusOr<Options> options = Check(raw);
  if (!options.ok()) {
    parsed.exit_status = kExitUsage;
    parsed.error = absl::StrCat("mcp-perf: ", options.status().message(), "\n");
    return parsed;
  }
  parsed.options = *std::move(options);
  parsed.options->command.assign(argv, argv + argc);
  return parsed;
}

}  // namespace mcp::perf
