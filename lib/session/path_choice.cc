#include "lib/session/path_choice.h"

#include <algorithm>

#include "lib/base/assert.h"
#include "lib/session/lane_context.h"
#include "lib/session/stream.h"

namespace mcp::internal {
namespace {

// The best guess first.
constexpr Protocol kProtocols[] = {Protocol::kBulk, Protocol::kStream};
constexpr uint32_t kAlternatives = 2;

}  // namespace

void PathChoice::Enter(uint16_t rails, const PathStatistics& path) {
  Alternative alternatives[kAlternatives];
  for (uint32_t i = 0; i < kAlternatives; ++i) {
    alternatives[i] = {.protocol = kProtocols[i], .rails = static_cast<uint16_t>((1u << rails) - 1)};
    if (kProtocols[i] == Protocol::kStream) alternatives[i].bytes_max = kStreamBytesMax;
  }
  Advisor& advisor = context_->advisor();
  const absl::StatusOr<uint32_t> peer = advisor.AddPeer(alternatives);
  if (!peer.ok()) {
    context_->logger().LogOnce(LogLevel::kWarning, peer.status().message(), ": further sessions send by bulk");
    peer_ = kRefused;
    return;
  }
  peer_ = *peer;
  if (context_->profile() == nullptr) return;
  PathFigures figures{.bytes_per_ns = static_cast<double>(path.delivery_rate_bytes_per_s) * 1e-9,
                      .latency_ns = static_cast<double>(path.rtt_ns) / 2};
  if (path.bytes_between_losses > 0) {
    figures.loss = std::min(1.0, kProfilePacketBytes / static_cast<double>(path.bytes_between_losses));
  }
  SeedFromPoint(NearestPoint(*context_->profile(), figures), alternatives, &advisor, peer_);
}

TransferChoice PathChoice::Choose(uint64_t bytes, int64_t now_ns) {
  MCP_ASSERT(entered());
  TransferChoice choice;
  choice.alternative = 0;
  if (peer_ != kRefused) {
    const Advice advice = context_->advisor().Advise(peer_, bytes, now_ns);
    choice.alternative = advice.alternative;
    choice.probe = advice.probe;
  }
  choice.protocol = kProtocols[choice.alternative];
  choice.mark = sampler_.Post(bytes, now_ns);
  ++under_way_;
  Count(choice, bytes);
  return choice;
}

void PathChoice::Count(const TransferChoice& choice, uint64_t bytes) {
  const auto add = [](std::atomic<uint64_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  add(choice.protocol == Protocol::kStream ? stream_ : bulk_);
  if (choice.probe) return add(probes_);
  uint8_t& last = last_[SizeClassOf(bytes)];
  if (last != TransferChoice::kNone && last != choice.alternative) add(switches_);
  last = choice.alternative;
}

Sample PathChoice::SampleOf(const TransferChoice& choice, uint64_t bytes, int64_t now_ns) {
  Sample sample;
  sample.peer = peer_;
  sample.alternative = choice.alternative;
  sample.probe = choice.probe;
  sample.bytes = bytes;
  const double ns_per_byte = context_->advisor().EstimatorOf(peer_, choice.alternative).ns_per_byte();
  sample.latency_ns = sampler_.Complete(choice.mark, bytes, ns_per_byte, now_ns);
  sample.retransmits = losses_.Charge(under_way_--);
  return sample;
}

void PathChoice::Complete(const TransferChoice& choice, uint64_t bytes, int64_t now_ns) {
  if (peer_ == kRefused) return Abandon(choice, bytes);
  context_->advisor().Observe(SampleOf(choice, bytes, now_ns), now_ns);
  learned_ = true;
}

void PathChoice::Fail(const TransferChoice& choice, uint64_t bytes, int64_t now_ns) {
  if (peer_ == kRefused) return Abandon(choice, bytes);
  context_->advisor().ObserveFailure(SampleOf(choice, bytes, now_ns), now_ns);
}

void PathChoice::Abandon(const TransferChoice& choice, uint64_t bytes) {
  sampler_.Abandon(bytes);
  --under_way_;
  if (choice.probe && peer_ != kRefused) context_->advisor().AbandonProbe(peer_);
}

void PathChoice::OnRail(uint32_t rail, bool up, int64_t now_ns) {
  if (peer_ >= kRefused) return;
  if (up) {
    context_->advisor().RestoreRail(peer_, rail);
  } else {
    context_->advisor().LoseRail(peer_, rail, now_ns);
  }
}

void PathChoice::OnRailAdded(uint32_t rail, int64_t now_ns) {
  if (!learned_) return;
  OnRail(rail, false, now_ns);
  OnRail(rail, true, now_ns);
}

void PathChoice::Leave() {
  if (peer_ < kRefused) context_->advisor().RemovePeer(peer_);
  peer_ = kRefused;
}

ProtocolTally PathChoice::tally() const {
  return {.bulk = bulk_.load(std::memory_order_relaxed),
          .stream = stream_.load(std::memory_order_relaxed),
          .switches = switches_.load(std::memory_order_relaxed),
          .probes = probes_.load(std::memory_order_relaxed)};
}

}  // namespace mcp::internal
