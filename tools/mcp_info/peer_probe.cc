#include "tools/mcp_info/peer_probe.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/control_messages.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/initiator.h"
#include "tools/mcp_perf/options.h"
#include "tools/mcp_perf/sizes.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::info {
namespace {

constexpr std::chrono::seconds kHelloTimeout{10};
constexpr std::chrono::seconds kTurnTimeout{5};
constexpr char kTest[] = "put_bw";
constexpr uint64_t kTransferBytes = 65536;
constexpr char kTransfers[] = "16";

// mcp-perf's own reading of its options, so that a transport means the same in both.
absl::StatusOr<perf::Options> PerfOptions(const Options& options) {
  const std::string size = absl::StrCat(kTransferBytes);
  const std::vector<const char*> arguments = {"mcp-perf",     options.host.c_str(),
                                              "--transport",  options.transport.c_str(),
                                              "--test",       kTest,
                                              "--size",       size.c_str(),
                                              "--iterations", kTransfers,
                                              "--warmup",     "0",
                                              "--rails",      "1",
                                              "--quiet"};
  perf::ParsedCommandLine parsed = perf::ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
  if (!parsed.options) return absl::InvalidArgumentError(parsed.error);
  return *std::move(parsed.options);
}

}  // namespace

PeerProbe::~PeerProbe() {
  if (control_ && control_->alive()) control_->Send({{"type", "goodbye"}}).IgnoreError();
}

absl::Status PeerProbe::Connect(const std::string& host, uint16_t port) {
  MCP_PERF_ASSIGN_OR_RETURN(control_, perf::ControlChannel::Connect(host, port, &engine_));
  return absl::OkStatus();
}

absl::StatusOr<std::string> PeerProbe::Hello() {
  self_ = perf::DescribeHost();
  MCP_PERF_RETURN_IF_ERROR(control_->Send(perf::EncodeHello(self_)));
  MCP_PERF_ASSIGN_OR_RETURN(const perf::Json answer, control_->Receive(kHelloTimeout));
  if (perf::MessageType(answer) == "queued") {
    busy_ = true;
    return std::string("mcp-perf is there, busy with another client");
  }
  MCP_PERF_ASSIGN_OR_RETURN(const perf::HostInfo peer, perf::DecodeHello(answer));
  return absl::StrCat("mcp-perf on ", peer.host, ", ", peer.kernel);
}

absl::Status PeerProbe::AwaitTurn() {
  if (!busy_) return absl::OkStatus();
  const absl::StatusOr<perf::Json> answer = control_->Receive(kTurnTimeout);
  if (absl::IsDeadlineExceeded(answer.status())) {
    return absl::DeadlineExceededError(
        absl::StrCat("the server has served another client for ", kTurnTimeout.count(), " s"));
  }
  MCP_PERF_RETURN_IF_ERROR(answer.status());
  return perf::DecodeHello(*answer).status();
}

absl::StatusOr<TransferFacts> PeerProbe::Transfer(const Options& options, const std::string& address) {
  MCP_PERF_RETURN_IF_ERROR(AwaitTurn());
  MCP_PERF_ASSIGN_OR_RETURN(const perf::Options perf_options, PerfOptions(options));
  perf::TestSpec spec;
  spec.test = perf_options.tests.front();
  spec.layout = perf::ChooseLayout(spec.test, kTransferBytes, perf_options.outstanding, perf_options.verify);
  spec.lanes = 1;
  spec.rails = perf_options.rails;
  perf::TestResult result;
  perf::Initiator initiator(perf_options, spec, address, control_.get());
  const absl::Status moved = initiator.Run(result, [](double) {});
  transport_ = initiator.transport();
  stage_ = initiator.no_path()     ? TransferStage::kConnect
           : initiator.connected() ? TransferStage::kMove
                                   : TransferStage::kPrepare;
  MCP_PERF_RETURN_IF_ERROR(moved);
  const perf::PathInfo& path = initiator.local_path();
  TransferFacts facts;
  facts.transport = path.transport;
  facts.text = absl::StrCat(perf::FormatSize(result.verified_bytes), " over ", path.transport, " by ", path.device,
                            ", every byte verified");
  for (const Fallback& fallback : path.fallbacks) {
    absl::StrAppend(&facts.text, "; ", fallback.used, " in place of ", fallback.wanted, ": ", fallback.reason);
  }
  return facts;
}

}  // namespace mcp::info
