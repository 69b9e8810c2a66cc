#include "tools/mcp_perf/client.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/address.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/initiator.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/sizes.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

// The kernel of the other side takes the connection before its mcp-perf does.
constexpr std::chrono::seconds kHelloTimeout{10};
// While the server serves others; its end, or a signal here, ends the wait.
constexpr std::chrono::hours kTurnTimeout{24};
constexpr int kRailsDefault = 2;

std::string Describe(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

Client::Client(const Options& options, std::string host, uint16_t port)
    : options_(options), host_(std::move(host)), port_(port), bar_(options.quiet) {
  report_.version = std::string(Version());
  report_.command = options.command;
  report_.fallbacks = options.fallbacks;
  report_.local.host = DescribeHost();
}

int Client::Run() {
  if (const absl::Status status = OpenOutputs(); !status.ok()) {
    PrintError(status);
    return kExitTestFailed;
  }
  absl::Status status = Connect();
  if (!status.ok()) {
    no_path_ = true;
  } else {
    status = Hello();
  }
  if (status.ok()) {
    RunTests();
    if (control_->alive()) control_->Send({{"type", "goodbye"}}).IgnoreError();
  } else {
    failed_ = true;
    PrintError(status);
    FailTheRest(status);
  }
  control_.reset();
  if (!WriteOutputs()) failed_ = true;
  return no_path_ ? kExitNoPath : failed_ ? kExitTestFailed : kExitOk;
}

absl::Status Client::OpenOutputs() {
  const auto open = [](const char* option, const std::string& path, std::unique_ptr<OutputFile>& file) {
    if (path.empty()) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<OutputFile>> opened = OutputFile::Open(option, path);
    if (opened.ok()) file = *std::move(opened);
    return opened.status();
  };
  MCP_PERF_RETURN_IF_ERROR(open("--json", options_.json, json_));
  MCP_PERF_RETURN_IF_ERROR(open("--csv", options_.csv, csv_));
  return open("--plot", options_.plot, plot_);
}

absl::Status Client::Connect() {
  MCP_PERF_ASSIGN_OR_RETURN(control_, ControlChannel::Connect(host_, port_, &engine_));
  return absl::OkStatus();
}

absl::Status Client::Hello() {
  MCP_PERF_RETURN_IF_ERROR(control_->Send(EncodeHello(report_.local.host)));
  MCP_PERF_ASSIGN_OR_RETURN(Json answer, control_->Receive(kHelloTimeout));
  if (MessageType(answer) == "queued") {
    if (!options_.quiet) {
      std::fprintf(stderr, "mcp-perf: %s: the server is busy with another client; waiting\n",
                   JoinAddress(host_, port_).c_str());
    }
    MCP_PERF_ASSIGN_OR_RETURN(answer, control_->Receive(kTurnTimeout));
  }
  MCP_PERF_ASSIGN_OR_RETURN(report_.remote.host, DecodeHello(answer));
  return absl::OkStatus();
}

void Client::RunTests() {
  for (const TestKind& test : options_.tests) {
    for (const uint64_t size : options_.sizes) {
      RunTest(test, size);
      if (Interrupted()) return FailTheRest(absl::CancelledError("interrupted"));
      if (!control_->alive()) {
        // A message that says why; there will be no other.
        const absl::Status lost = control_->Receive(std::chrono::seconds(0)).status();
        return FailTheRest(lost.ok() ? absl::UnavailableError("the server left") : lost);
      }
    }
  }
}

void Client::RunTest(const TestKind& test, uint64_t size) {
  TestSpec spec;
  spec.test = test;
  spec.layout = ChooseLayout(test, size, options_.outstanding, options_.verify);
  spec.checksum = options_.checksum;
  spec.verify = options_.verify;
  spec.protocol = options_.protocol;
  // A connection for each of two lanes, where both sides have the CPUs; one connection for a ping-pong.
  const int cpus = std::min(report_.local.host.cpus, report_.remote.host.cpus);
  spec.rails = options_.rails != 0 ? options_.rails : test.latency ? 1 : std::min(kRailsDefault, cpus);
  spec.lanes = test.latency ? 0 : std::min(spec.rails, cpus);
  const std::string label = absl::StrCat(test.name, " of ", FormatSize(size));
  TestResult result;
  {
    Initiator initiator(options_, spec, host_, control_.get());
    const absl::Status status = initiator.Run(result, [&](double done) { bar_.Show(label, done); });
    if (!status.ok()) {
      result.error = absl::StrCat(label, ": ", status.message());
      failed_ = true;
      no_path_ = no_path_ || initiator.no_path();
    }
    // The report shows the path of the bandwidth tests, where there are any.
    if (const int rails = initiator.local_path().rails; rails > 0 && rails >= report_.local.path.rails) {
      report_.local.path = initiator.local_path();
      report_.remote.path = initiator.remote_path();
    }
    AddFallbacks(initiator.local_path().fallbacks, report_);
    AddFallbacks(initiator.remote_path().fallbacks, report_);
  }
  bar_.Clear();
  PrintRow(result);
  report_.results.push_back(std::move(result));
}

void Client::FailTheRest(const absl::Status& reason) {
  const size_t ran = report_.results.size();
  size_t index = 0;
  for (const TestKind& test : options_.tests) {
    for (const uint64_t size : options_.sizes) {
      if (index++ < ran) continue;
      TestResult result;
      result.test = test;
      result.size = size;
      result.error = absl::StrCat(test.name, " of ", FormatSize(size), ": not run: ", reason.message());
      report_.results.push_back(std::move(result));
      failed_ = true;
    }
  }
}

bool Client::WriteOutputs() {
  bool written = true;
  const auto write = [&](std::unique_ptr<OutputFile>& file, const std::string& contents) {
    if (!file) return;
    const absl::Status status = file->Write(contents);
    if (status.ok()) return;
    written = false;
    PrintError(status);
    // A result that took time to measure is not thrown away.
    if (&file != &plot_) std::fprintf(stderr, "mcp-perf: what could not be written:\n%s", contents.c_str());
  };
  if (json_) write(json_, FormatJson(report_));
  if (csv_) write(csv_, FormatCsv(report_));
  if (plot_) write(plot_, FormatSvg(report_));
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    PrintError(absl::DataLossError("stdout: the table could not be written"));
    written = false;
  }
  return written;
}

void Client::PrintRow(const TestResult& result) {
  if (!result.error.empty()) PrintError(absl::UnknownError(result.error));
  if (options_.stdout_taken()) return;
  const TableSettings settings{options_.checksum, options_.verify, options_.outstanding};
  if (!std::exchange(header_printed_, true)) std::fputs(FormatTableHeader(report_, settings).c_str(), stdout);
  std::fputs(FormatTableRow(result, settings).c_str(), stdout);
  std::fflush(stdout);
}

void Client::PrintError(const absl::Status& status) {
  bar_.Clear();
  std::fprintf(stderr, "mcp-perf: %s\n", Describe(status).c_str());
}

}  // namespace mcp::perf
