#include "tools/mcp_perf/initiator.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/address.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/pattern.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

constexpr int64_t kForeverNs = std::numeric_limits<int64_t>::max();
constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kSeed = 0x6d63702d70657266;
// Warm-up without --warmup: enough for congestion windows to open and caches to fill.
constexpr uint64_t kWarmupBytes = uint64_t{64} << 20;
constexpr uint64_t kWarmupOperationsMax = 20000;
constexpr uint64_t kLatencyWarmupMax = 500;
constexpr double kWarmupSecondsMax = 0.25;
// The first window of a latency test, before anything is known of the path.
constexpr uint64_t kFirstWindow = 16;
// No window of a latency test is meant to last longer: the deadline is looked at between windows.
constexpr int64_t kLatencyWindowNs = 200'000'000;

}  // namespace

Initiator::Initiator(const Options& options, const TestSpec& spec, std::string host, ControlChannel* control)
    : options_(options), spec_(spec), host_(std::move(host)), control_(control) {}

Initiator::~Initiator() {
  if (!path_) return;
  path_->CloseSession();
  bandwidth_.reset();
  ping_pong_.reset();
}

absl::Status Initiator::Run(TestResult& result, const ProgressCallback& progress) {
  result.test = spec_.test;
  result.size = spec_.layout.size;
  result.outstanding = spec_.layout.outstanding;
  absl::Status status = Prepare();
  result.rails = local_path_.rails;
  TestResult warmup;
  if (status.ok()) status = WarmUp(warmup);
  if (status.ok()) status = Measure(result, progress);
  // In order where all went well; otherwise what is in flight goes with the session.
  if (status.ok()) path_->FinishSession();
  // The server has ended the measurement itself where the error came from there.
  if (asked_ && control_->alive() && !absl::IsAborted(status)) {
    const absl::Status finished =
        control_->Ask({{"type", "finish"}}, "finished", path_ ? path_->driven() : nullptr).status();
    if (status.ok()) status = finished;
  }
  return status;
}

// What this side cannot have is not asked of the server.
absl::Status Initiator::ChooseTransport() {
  spec_.transport = options_.transport;
  if (options_.transport == "tcp") return absl::OkStatus();
  const absl::Status verbs = WhyNotVerbs(VerbsOf(options_), host_);
  if (verbs.ok()) return absl::OkStatus();
  if (options_.transport == "auto" && absl::IsUnavailable(verbs)) {
    spec_.transport = "tcp";
    fallbacks_.push_back({"verbs", "tcp", std::string(verbs.message())});
    return absl::OkStatus();
  }
  no_path_ = true;
  return verbs;
}

absl::Status Initiator::Prepare() {
  MCP_PERF_RETURN_IF_ERROR(ChooseTransport());
  asked_ = true;
  MCP_PERF_ASSIGN_OR_RETURN(const Json prepared, control_->Ask(EncodeSpec(spec_), "prepared"));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t port, UintField(prepared, "port", 1, 65535));
  MCP_PERF_ASSIGN_OR_RETURN(spec_.transport, TextField(prepared, "transport"));
  MCP_PERF_ASSIGN_OR_RETURN(const RemoteRegion remote_source, RegionField(prepared, "source"));
  RemoteRegion peer = remote_source;
  if (spec_.test.operation == Operation::kPut) {
    MCP_PERF_ASSIGN_OR_RETURN(peer, RegionField(prepared, "ring"));
  }
  MCP_PERF_ASSIGN_OR_RETURN(path_, DataPath::Create(spec_, spec_.test.client_receives(), VerbsOf(options_)));
  MCP_PERF_RETURN_IF_ERROR(FillSource(options_.data, kSeed, path_->source().data(), path_->layout().source_bytes()));
  path_->ArmRing();
  if (const absl::Status status = Connect(static_cast<uint16_t>(port)); !status.ok()) {
    no_path_ = true;
    return status;
  }
  MCP_PERF_RETURN_IF_ERROR(SendSource(remote_source));
  Json connected = {{"type", "connected"}, {"digest", Digest(path_->source().data(), path_->layout().source_bytes())}};
  if (path_->ring().valid()) {
    MCP_PERF_ASSIGN_OR_RETURN(const RemoteRegion ring, path_->ring().Export());
    connected["ring"] = EncodeRegion(ring);
  }
  MCP_PERF_ASSIGN_OR_RETURN(const Json ready, control_->Ask(connected, "ready", path_->driven()));
  MCP_PERF_ASSIGN_OR_RETURN(remote_path_, DecodePath(ready));
  local_path_ = path_->Describe();
  local_path_.fallbacks.insert(local_path_.fallbacks.end(), fallbacks_.begin(), fallbacks_.end());
  if (spec_.test.latency) {
    ping_pong_ = std::make_unique<PingPong>(path_.get(), peer, control_);
  } else {
    bandwidth_ = std::make_unique<BandwidthLoop>(path_.get(), peer);
  }
  return absl::OkStatus();
}

absl::Status Initiator::Connect(uint16_t port) {
  MCP_PERF_ASSIGN_OR_RETURN(Session session,
                            path_->engine().Connect(JoinAddress(host_, port), path_->session_options()));
  path_->set_session(std::move(session));
  return absl::OkStatus();
}

absl::Status Initiator::SendSource(const RemoteRegion& remote_source) {
  struct Sent {
    std::atomic<bool> done{false};
    absl::Status status;
  } sent;
  const auto posted = path_->session().Put(path_->source().All(), remote_source, 0, [&sent](Result result) {
    sent.status = result.status;
    sent.done.store(true, std::memory_order_release);
    sent.done.notify_one();
  });
  MCP_PERF_RETURN_IF_ERROR(posted.status());
  // Bounded by the session: the end of the peer completes it.
  while (!sent.done.load(std::memory_order_acquire)) {
    if (Engine* driven = path_->driven(); driven != nullptr) {
      if (driven->Progress() == 0) driven->Wait(kInterruptPoll);
    } else {
      sent.done.wait(false, std::memory_order_acquire);
    }
  }
  return sent.status;
}

absl::Status Initiator::WarmUp(TestResult& scratch) {
  const Layout& layout = spec_.layout;
  uint64_t left = spec_.test.latency ? std::clamp(kWarmupBytes / layout.size, uint64_t{2}, kLatencyWarmupMax)
                                     : std::clamp(kWarmupBytes / layout.size, layout.outstanding, kWarmupOperationsMax);
  left = options_.warmup.value_or(left);
  const auto enough = [&] { return !options_.warmup && scratch.seconds >= kWarmupSecondsMax; };
  const int64_t duration_ns = options_.warmup ? kForeverNs : static_cast<int64_t>(kWarmupSecondsMax * 1e9);
  while (left > 0 && !enough()) {
    const uint64_t before = scratch.operations;
    MCP_PERF_RETURN_IF_ERROR(RunWindow(WindowLimit(left, kForeverNs), duration_ns, scratch, [] {}));
    left -= std::min(left, scratch.operations - before);
  }
  if (bandwidth_) bandwidth_->TakeLatency();
  return absl::OkStatus();
}

absl::Status Initiator::Measure(TestResult& result, const ProgressCallback& progress) {
  const int64_t duration_ns = options_.iterations ? kForeverNs : static_cast<int64_t>(options_.duration_s * 1e9);
  const uint64_t operations = options_.iterations.value_or(kUnlimited);
  absl::Status status;
  do {
    const int64_t timed_ns = static_cast<int64_t>(result.seconds * 1e9);
    const int64_t ns_left = options_.iterations ? kForeverNs : duration_ns - timed_ns;
    const int64_t started_ns = NowNs();
    const auto tick = [&] {
      const double done = options_.iterations
                              ? static_cast<double>(result.operations) / static_cast<double>(operations)
                              : static_cast<double>(timed_ns + NowNs() - started_ns) / static_cast<double>(duration_ns);
      progress(std::min(done, 1.0));
    };
    tick();
    status = RunWindow(WindowLimit(operations - result.operations, ns_left), ns_left, result, tick);
  } while (status.ok() && result.operations < operations && result.seconds * 1e9 < static_cast<double>(duration_ns));
  if (bandwidth_) result.latency = bandwidth_->TakeLatency();
  return status;
}

uint64_t Initiator::WindowLimit(uint64_t operations_left, int64_t ns_left) const {
  uint64_t limit = operations_left;
  if (spec_.verify || spec_.test.latency) limit = std::min(limit, spec_.layout.slots);
  if (!spec_.test.latency) return limit;  // a stream stops in the middle of a window
  if (operation_ns_ == 0) return std::min(limit, kFirstWindow);
  const double fits = static_cast<double>(std::min(ns_left, kLatencyWindowNs)) / operation_ns_;
  return std::clamp(static_cast<uint64_t>(fits), uint64_t{1}, limit);
}

absl::Status Initiator::RunWindow(uint64_t limit, int64_t duration_ns, TestResult& result,
                                  const std::function<void()>& tick) {
  if (Interrupted()) return absl::CancelledError("interrupted");
  if (ping_pong_) MCP_PERF_RETURN_IF_ERROR(ping_pong_->Begin(generation_, limit));
  const Json begin = {{"type", "begin"}, {"generation", generation_}, {"count", limit}};
  MCP_PERF_RETURN_IF_ERROR(control_->Ask(begin, "begun", path_->driven()).status());
  const SideCounters before = path_->Counters();
  WindowOutcome outcome;
  if (ping_pong_) {
    outcome.operations = limit;
    MCP_PERF_ASSIGN_OR_RETURN(outcome.ns, ping_pong_->Lead(result.latency));
    tick();
  } else {
    MCP_PERF_ASSIGN_OR_RETURN(outcome, bandwidth_->Run(generation_, limit, duration_ns, tick));
  }
  result.local += path_->Counters() - before;
  const Json end = {{"type", "end"}, {"generation", generation_}, {"count", outcome.operations}};
  MCP_PERF_RETURN_IF_ERROR(control_->Send(end));
  // Both sides compare at the same time.
  const absl::StatusOr<uint64_t> here = path_->CheckWindow(generation_, outcome.operations);
  MCP_PERF_ASSIGN_OR_RETURN(const Json ended, control_->Expect("ended", kAnswerTimeout, path_->driven()));
  MCP_PERF_ASSIGN_OR_RETURN(const SideCounters remote, DecodeCounters(ended));
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t there, UintField(ended, "verified_bytes", 0, kUnlimited));
  MCP_PERF_RETURN_IF_ERROR(here.status());
  result.remote += remote;
  result.operations += outcome.operations;
  result.seconds += static_cast<double>(outcome.ns) / 1e9;
  const uint64_t payload_bytes = outcome.operations * spec_.layout.size;
  result.payload_bytes += payload_bytes;
  result.verified_bytes += spec_.test.server_receives() ? there : *here;
  if (outcome.operations > 0) operation_ns_ = static_cast<double>(outcome.ns) / static_cast<double>(outcome.operations);
  ++generation_;
  if (spec_.verify && (spec_.test.server_receives() ? there : *here) != payload_bytes) {
    return absl::DataLossError(absl::StrCat(there, " bytes were compared, and ", payload_bytes, " were sent"));
  }
  return absl::OkStatus();
}

}  // namespace mcp::perf
