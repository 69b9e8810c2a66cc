#include "tools/mcp_perf/data_path.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/address.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/pattern.h"
#include "tools/mcp_perf/sizes.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

// Of memory that is free, what a measurement may take. Both sides of --loopback share the host.
constexpr double kMemoryShareMax = 0.8;
// Below this, a second thread costs more than it saves.
constexpr uint64_t kParallelBytesMin = uint64_t{4} << 20;
constexpr int kCheckThreadsMax = 2;
// A side that verifies or fills buffers does not drive its engine meanwhile.
constexpr std::chrono::seconds kDrivenPeerTimeout{30};
constexpr std::chrono::seconds kFinishTimeout{2};
constexpr std::chrono::microseconds kFinishPoll{100};

absl::Status CheckMemory(const TestSpec& spec, uint64_t bytes) {
  const uint64_t available = MemoryAvailable();
  if (available == 0 || static_cast<double>(bytes) <= kMemoryShareMax * static_cast<double>(available)) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(spec.test.name, " of ", FormatSize(spec.layout.size),
                                                   ": buffers of ", FormatSize(bytes), " do not fit in ",
                                                   FormatSize(available), " of free memory (choose a smaller --size)"));
}

PolicyOptions PolicyOf(const std::string& name) {
  PolicyOptions options;
  for (const Protocol protocol : {Protocol::kEager, Protocol::kBulk, Protocol::kStream}) {
    if (name != ProtocolName(protocol)) continue;
    options.policy = "fixed";
    options.fixed.protocol = protocol;
  }
  return options;
}

// Calls work(begin, end) for parts of [0, count), on as many threads as pay.
template <typename Work>
void InParallel(uint64_t count, uint64_t bytes, Work work) {
  const uint64_t threads_wanted =
      bytes < kParallelBytesMin ? 1 : static_cast<uint64_t>(std::min(CpuCount(), kCheckThreadsMax));
  const uint64_t parts = std::clamp(threads_wanted, uint64_t{1}, std::max(count, uint64_t{1}));
  std::vector<std::thread> threads;
  for (uint64_t part = 1; part < parts; ++part) {
    threads.emplace_back([=] { work(count * part / parts, count * (part + 1) / parts); });
  }
  work(0, count / parts);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

std::vector<std::string> TransportsOf(const std::string& transport) {
  if (transport == "auto") return {"verbs", "tcp"};
  return {transport};
}

absl::Status WhyNotVerbs(const VerbsOptions& verbs, const std::string& address) {
  EngineOptions options;
  options.lanes = 0;
  options.transports = {"verbs"};
  options.verbs = verbs;
  if (!address.empty()) options.address = JoinAddress(address, 0);
  return Engine::Create(options).status();
}

std::string DataPath::transport() const {
  if (spec_.transport != "auto") return spec_.transport;
  for (const Fallback& fallback : engine_->Fallbacks()) {
    if (fallback.wanted == "verbs") return fallback.used;
  }
  return "verbs";
}

absl::StatusOr<std::unique_ptr<DataPath>> DataPath::Create(const TestSpec& spec, bool receives,
                                                           const VerbsOptions& verbs) {
  const uint64_t ring_bytes = receives ? spec.layout.ring_bytes() : 0;
  MCP_PERF_RETURN_IF_ERROR(CheckMemory(spec, spec.layout.source_bytes() + ring_bytes));
  EngineOptions options;
  options.lanes = spec.lanes;
  options.transports = TransportsOf(spec.transport);
  options.verbs = verbs;
  options.context = PolicyOf(spec.protocol);
  MCP_PERF_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options));
  std::unique_ptr<DataPath> path(new DataPath(spec, std::move(engine)));
  MCP_PERF_ASSIGN_OR_RETURN(path->source_, path->engine_->Allocate(spec.layout.source_bytes()));
  path->source_slice_ = path->source_.All();
  if (receives) {
    MCP_PERF_ASSIGN_OR_RETURN(path->ring_, path->engine_->Allocate(ring_bytes));
    path->ring_slice_ = path->ring_.All();
  }
  return path;
}

DataPath::~DataPath() { CloseSession(); }

void DataPath::FinishSession() {
  const auto closed = std::make_shared<std::atomic<bool>>(false);
  session_.Close([closed](const Result&) { closed->store(true); });
  const auto deadline = std::chrono::steady_clock::now() + kFinishTimeout;
  while (!closed->load() && std::chrono::steady_clock::now() < deadline) {
    if (driven() == nullptr) {
      std::this_thread::sleep_for(kFinishPoll);
    } else if (engine_->Progress() == 0) {
      engine_->Wait(kFinishPoll);
    }
  }
}

SessionOptions DataPath::session_options() const {
  SessionOptions options;
  options.rails = spec_.rails;
  options.rails_on_first_use = false;  // what is reported is what carries
  options.checksum = spec_.checksum;
  if (spec_.lanes == 0) options.peer_timeout = kDrivenPeerTimeout;
  return options;
}

void DataPath::ArmRing() {
  if (!ring_.valid()) return;
  InParallel(layout().slots, layout().ring_bytes(), [this](uint64_t begin, uint64_t end) {
    for (uint64_t slot = begin; slot < end; ++slot)
      ArmSlot(SlotData(slot), Due(OperationNumber(0, slot)), layout().size);
  });
}

absl::Status DataPath::MismatchError(uint64_t operation, uint64_t slot, const Difference& difference) const {
  std::array<char, 64> bytes;
  std::snprintf(bytes.data(), bytes.size(), "0x%02x, and 0x%02x was sent", static_cast<unsigned>(difference.got),
                static_cast<unsigned>(difference.want));
  return absl::DataLossError(absl::StrCat(spec_.test.name, " of ", FormatSize(layout().size), ": operation ", operation,
                                          ", slot ", slot, ": byte ", difference.offset, " is ", bytes.data()));
}

absl::StatusOr<uint64_t> DataPath::CheckWindow(uint64_t generation, uint64_t count) {
  if (!ring_.valid()) return uint64_t{0};
  const uint64_t size = layout().size;
  if (!spec_.verify) {
    if (!spec_.test.latency) return uint64_t{0};
    for (uint64_t slot = 0; slot < layout().slots; ++slot) {
      ArmLastBytes(SlotData(slot), Due(OperationNumber(generation + 1, slot)), size);
    }
    return uint64_t{0};
  }
  std::array<std::optional<std::pair<uint64_t, Difference>>, kCheckThreadsMax> found;
  InParallel(layout().slots, layout().ring_bytes(), [&, this](uint64_t begin, uint64_t end) {
    std::optional<std::pair<uint64_t, Difference>>& first = found[begin == 0 ? 0 : 1];
    for (uint64_t slot = begin; slot < end; ++slot) {
      const std::byte* due = Due(OperationNumber(generation + 1, slot));
      if (slot >= count) {
        ArmSlot(SlotData(slot), due, size);
        continue;
      }
      const auto difference = CheckAndArmSlot(SlotData(slot), Due(OperationNumber(generation, slot)), due, size);
      if (difference && !first) first = std::pair(slot, *difference);
    }
  });
  for (const auto& first : found) {
    if (first) return MismatchError(OperationNumber(generation, first->first), first->first, first->second);
  }
  return count * size;
}

SideCounters DataPath::Counters() const {
  SideCounters counters;
  counters.cpu_ns = ProcessCpuNs();
  const SessionStatistics statistics = session_.Statistics();
  counters.wire_bytes_sent = statistics.wire_bytes_sent;
  counters.retransmitted_tiles = statistics.retransmitted_tiles;
  counters.checksum_failures = statistics.checksum_failures;
  counters.announced = statistics.announced_transfers;
  counters.streamed = statistics.stream_transfers;
  counters.protocol_switches = statistics.protocol_switches;
  return counters;
}

PathInfo DataPath::Describe() const {
  const SessionDescription description = session_.Describe();
  PathInfo path;
  path.rails = static_cast<int>(description.rails.size());
  if (!description.rails.empty()) {
    path.transport = description.rails.front().transport;
    path.device = description.rails.front().device;
  }
  path.fallbacks = engine_->Fallbacks();
  path.fallbacks.insert(path.fallbacks.end(), description.fallbacks.begin(), description.fallbacks.end());
  return path;
}

}  // namespace mcp::perf
