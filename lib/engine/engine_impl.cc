#include "lib/engine/engine_impl.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/config.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "transports/builtin.h"

namespace mcp::internal {
namespace {

constexpr int kLanesMax = static_cast<int>(RegionTable::kLanesMax);
constexpr uint32_t kKeysMax = 1u << 20;

absl::Status CheckOptions(const EngineOptions& options) {
  if (options.lanes < 0 || options.lanes > kLanesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("EngineOptions::lanes ", options.lanes, " is not between 0 and ", kLanesMax));
  }
  if (options.lane_spin.count() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("EngineOptions::lane_spin ", options.lane_spin.count(), " us"));
  }
  if (options.exported_keys_max == 0 || options.exported_keys_max > kKeysMax) {
    return absl::InvalidArgumentError(absl::StrCat("EngineOptions::exported_keys_max ", options.exported_keys_max,
                                                   " is not between 1 and ", kKeysMax));
  }
  return absl::OkStatus();
}

std::unique_ptr<Logger> MakeLogger() {
  const Config config = ConfigFromEnvironment();
  auto logger = std::make_unique<Logger>(config.log_level);
  for (const std::string& complaint : config.complaints) logger->Log(LogLevel::kWarning, complaint);
  return logger;
}

}  // namespace

EngineImpl::EngineImpl(const EngineOptions& options, const EngineDependencies& dependencies)
    : options_(options),
      clock_(dependencies.clock != nullptr ? dependencies.clock : &system_clock_),
      own_logger_(dependencies.logger != nullptr ? nullptr : MakeLogger()),
      logger_(dependencies.logger != nullptr ? dependencies.logger : own_logger_.get()),
      provider_(dependencies.provider),
      random_(dependencies.seed.has_value() ? Random(*dependencies.seed) : Random::FromEntropy()),
      engine_id_(random_.Next()),
      regions_(std::make_unique<RegionTable>(options.exported_keys_max, random_.Fork())),
      registry_(static_cast<uint32_t>(std::max(options.lanes, 1)) + 1) {}

absl::StatusOr<std::unique_ptr<Engine>> EngineImpl::Create(const EngineOptions& options,
                                                           const EngineDependencies& dependencies) {
  MCP_RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<EngineImpl> impl(new EngineImpl(options, dependencies));
  MCP_RETURN_IF_ERROR(impl->Start());
  return std::make_unique<Engine>(std::move(impl));
}

absl::Status EngineImpl::Start() {
  MCP_RETURN_IF_ERROR(ChoosePolicy());
  MCP_RETURN_IF_ERROR(LoadProfile());
  if (provider_ == nullptr) MCP_RETURN_IF_ERROR(ChooseProvider());
  MCP_RETURN_IF_ERROR(StartLanes());
  AddMetrics();
  return absl::OkStatus();
}

absl::Status EngineImpl::ChooseProvider() {
  std::vector<std::string> names = options_.transports;
  if (names.empty()) names = EngineOptions().transports;
  std::vector<std::pair<std::string, std::string>> refused;
  for (const std::string& name : names) {
    absl::StatusOr<std::unique_ptr<TransportProvider>> provider = CreateProvider(name, options_, logger_);
    if (provider.ok()) {
      own_provider_ = *std::move(provider);
      provider_ = own_provider_.get();
      for (auto& [wanted, reason] : refused) start_fallbacks_.push_back({wanted, name, reason});
      if (name != names.back()) chosen_ = name;
      return absl::OkStatus();
    }
    if (provider.status().code() != absl::StatusCode::kUnavailable) return provider.status();
    refused.emplace_back(name, std::string(provider.status().message()));
  }
  std::string reasons;
  for (const auto& [name, reason] : refused) absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", name, ": ", reason);
  return absl::UnavailableError(absl::StrCat("no transport can be used here: ", reasons));
}

absl::Status EngineImpl::StartLanes() {
  const uint32_t count = static_cast<uint32_t>(std::max(options_.lanes, 1));
  for (uint32_t i = 0; i < count; ++i) {
    Lane::Dependencies dependencies;
    dependencies.index = i;
    MCP_ASSIGN_OR_RETURN(dependencies.transport, provider_->CreateTransport(regions_.get(), clock_, i));
    dependencies.regions = regions_.get();
    dependencies.clock = clock_;
    dependencies.logger = logger_;
    dependencies.policy = policy_;
    if (own_policy_ != nullptr && options_.context.policy == "fixed") {
      dependencies.forced = options_.context.fixed.protocol;
    }
    dependencies.profile = profile_.has_value() ? &*profile_ : nullptr;
    dependencies.on_incoming = [this](std::unique_ptr<PendingConnection> pending) { OnIncoming(std::move(pending)); };
    lanes_.push_back(std::make_unique<Lane>(std::move(dependencies)));
  }
  if (options_.lanes == 0) return absl::OkStatus();
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return ErrnoStatus(errno, "sched_getaffinity");
  // A lane that polls where threads outnumber CPUs takes the CPU from whoever could give it something to do.
  const bool cpus_to_spare = options_.lanes < CPU_COUNT(&cpus);
  const int64_t spin_ns = cpus_to_spare ? options_.lane_spin.count() * kNsPerUs : 0;
  for (const auto& lane : lanes_) threads_.push_back(std::make_unique<LaneThread>(*lane, spin_ns));
  return absl::OkStatus();
}

EngineImpl::~EngineImpl() {
  if (const absl::Status may_wait = MayWait("~Engine"); !may_wait.ok()) {
    logger_->Log(LogLevel::kError, may_wait.message(), ": operations in flight end without their completions");
    return;
  }
  std::vector<std::string> addresses;
  std::vector<std::shared_ptr<SessionImpl>> sessions;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [address, listening] : listening_) addresses.push_back(address);
  }
  for (const std::string& address : addresses) StopListening(address);
  // New sessions may still come out of handshakes that were under way: look until there are none.
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      sessions.clear();
      for (const auto& [pointer, session] : sessions_) sessions.push_back(session);
    }
    if (sessions.empty()) break;
    for (const auto& session : sessions) session->Fail(absl::CancelledError("the engine was destroyed"));
    RunAndWait(*lanes_[0], [] {});
    for (size_t i = 1; i < lanes_.size(); ++i) RunAndWait(*lanes_[i], [] {});
  }
  threads_.clear();
}

void EngineImpl::RunAndWait(Lane& lane, absl::AnyInvocable<void() &&> function) {
  std::promise<void> done;
  std::future<void> ended = done.get_future();
  lane.Run([function = std::move(function), done = std::move(done)]() mutable {
    std::move(function)();
    done.set_value();
  });
  WaitFor(std::move(ended));
}

void EngineImpl::WaitFor(std::future<void> done) {
  if (!caller_driven()) return done.wait();
  const auto ended = [&done] { return done.wait_for(std::chrono::seconds(0)) == std::future_status::ready; };
  while (!ended()) {
    if (Progress() == 0 && !ended()) Wait(std::chrono::milliseconds(100));
  }
}

absl::Status EngineImpl::MayWait(absl::string_view what) const {
  if (Lane::Current() != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(what, " blocks, and was called on a lane"));
  }
  if (caller_driven() && driver_ != std::thread::id() && driver_ != std::this_thread::get_id()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, " drives an engine without lanes, and another thread has driven it before"));
  }
  return absl::OkStatus();
}

size_t EngineImpl::Progress() {
  MCP_ASSERT(Lane::Current() == nullptr);
  if (caller_driven() && driver_ == std::thread::id()) {
    driver_ = std::this_thread::get_id();
    lanes_[0]->AdoptDriver();
  }
  if (!caller_driven() || driver_ != std::this_thread::get_id()) {
    logger_->LogOnce(LogLevel::kError, caller_driven() ? "Progress was called by a second thread: ignored"
                                                       : "Progress was called on an engine with lanes: ignored");
    return 0;
  }
  const Lane::Binding binding(*lanes_[0]);
  return lanes_[0]->RoundOnLane();
}

void EngineImpl::Wait(std::chrono::microseconds timeout) {
  if (!caller_driven() || Lane::Current() != nullptr) return;
  const Lane::Binding binding(*lanes_[0]);
  lanes_[0]->WaitOnLane(clock_->NowNs() + timeout.count() * kNsPerUs);
}

std::vector<Fallback> EngineImpl::Fallbacks() const {
  std::vector<Fallback> fallbacks = start_fallbacks_;
  for (const TransportFallback& fallback : provider_->Fallbacks()) {
    fallbacks.push_back({fallback.wanted, fallback.used, fallback.reason});
  }
  return fallbacks;
}

SessionStatistics EngineImpl::TotalStatistics() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  SessionStatistics total = ended_sessions_;
  for (const auto& [pointer, session] : sessions_) AddStatistics(session->Statistics(), &total);
  return total;
}

void EngineImpl::AddMetrics() {
  const auto add = [this](absl::string_view name, absl::string_view help, uint64_t SessionStatistics::*field) {
    registry_.AddGaugeReader(name, help, [this, field] { return static_cast<int64_t>(TotalStatistics().*field); });
  };
  add("mcp_operations_completed_total", "Operations that completed with OK.", &SessionStatistics::operations_completed);
  add("mcp_operations_failed_total", "Operations that completed with an error.", &SessionStatistics::operations_failed);
  add("mcp_payload_sent_bytes_total", "Payload handed to the transport.", &SessionStatistics::payload_bytes_sent);
  add("mcp_payload_received_bytes_total", "Payload that arrived whole.", &SessionStatistics::payload_bytes_received);
  add("mcp_wire_sent_bytes_total", "Frames with their payload, as handed to the transport.",
      &SessionStatistics::wire_bytes_sent);
  add("mcp_retransmitted_tiles_total", "Tiles that were sent again.", &SessionStatistics::retransmitted_tiles);
  add("mcp_checksum_failures_total", "Frames that arrived damaged.", &SessionStatistics::checksum_failures);
  add("mcp_path_retransmits_total", "What transports or devices sent again.", &SessionStatistics::path_retransmits);
  add("mcp_reconnections_total", "Connections that were lost and made again.", &SessionStatistics::reconnections);
  add("mcp_session_memory_bytes", "User-space memory held by live sessions.", &SessionStatistics::memory_bytes);
  add("mcp_eager_transfers_total", "Messages above the eager limit that went whole.",
      &SessionStatistics::eager_transfers);
  add("mcp_announced_transfers_total", "Messages that were announced first.", &SessionStatistics::announced_transfers);
  add("mcp_bulk_transfers_total", "Messages that were sent by bulk.", &SessionStatistics::bulk_transfers);
  add("mcp_stream_transfers_total", "Messages that were streamed.", &SessionStatistics::stream_transfers);
  add("mcp_protocol_switches_total", "Times that another protocol was chosen.", &SessionStatistics::protocol_switches);
  add("mcp_protocol_probes_total", "Messages that tried the other protocol.", &SessionStatistics::protocol_probes);
  registry_.AddGaugeReader("mcp_sessions", "Live sessions.", [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(sessions_.size());
  });
  registry_.AddGaugeReader("mcp_exported_keys", "Keys of exported regions and of operations in flight.",
                           [this] { return static_cast<int64_t>(regions_->slots_used()); });
}

std::string EngineImpl::MetricsText() const { return registry_.RenderPrometheus(); }

}  // namespace mcp::internal
