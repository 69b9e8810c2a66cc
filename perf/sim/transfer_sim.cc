#include "perf/sim/transfer_sim.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "lib/protocol/receiver.h"
#include "lib/protocol/sender.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kBulkChunkBytes = 256 << 10;
constexpr uint32_t kStreamChunkBytes = 64 << 10;
constexpr uint32_t kStreamQueuePairs = 8;
constexpr uint32_t kStreamWindow = 16;
constexpr uint32_t kDeliveryTag = 0;

TransferPlan MakePlan(uint64_t bytes, uint32_t chunk_bytes, const HostCosts& costs) {
  return {.transfer = 1,
          .bytes = bytes,
          .chunk_bytes = chunk_bytes,
          .window = kStreamWindow,
          .retry_ns = costs.failure_ns,
          .retries_max = 0};
}

// What travels, by the network's tags.
struct Mail {
  std::vector<WorkItem> items;
  std::vector<Report> reports;

  uint32_t Add(const WorkItem& item) {
    items.push_back(item);
    return static_cast<uint32_t>(items.size() - 1);
  }
  uint32_t Add(const Report& report) {
    reports.push_back(report);
    return static_cast<uint32_t>(reports.size() - 1);
  }
};

// Announcement and grant, which every large transfer begins with.
int64_t Rendezvous(Network* network, const HostCosts& costs) {
  return 2 * (costs.post_ns + costs.notice_ns) + network->Latency() + network->Latency();
}

Outcome Failed(const HostCosts& costs, uint32_t retransmits) { return {costs.failure_ns, retransmits, true}; }

Outcome Bulk(uint64_t bytes, const RailState& rail, const HostCosts& costs, uint64_t seed) {
  Network network(rail, costs, seed, 1);
  const TransferPlan plan = MakePlan(bytes, kBulkChunkBytes, costs);
  BulkSender sender(plan);
  BulkReceiver receiver(plan);
  Mail mail;
  const auto post = [&](int64_t now_ns) {
    WorkItem item;
    while (sender.Next(now_ns, &item)) network.Post(0, mail.Add(item), item.length, now_ns);
  };
  post(Rendezvous(&network, costs));
  Delivery delivery;
  while (network.Next(&delivery)) {
    const int64_t now_ns = delivery.time_ns;
    if (delivery.kind == Delivery::Kind::kReport) {
      if (!sender.OnReport(mail.reports[delivery.tag], now_ns).ok()) return Failed(costs, network.retransmits());
      if (sender.state() == SenderState::kDone) return {now_ns, network.retransmits(), false};
      post(now_ns);
      continue;
    }
    if (delivery.kind == Delivery::Kind::kItem) {
      const WorkItem& item = mail.items[delivery.tag];
      if (item.kind != WorkKind::kCommit) continue;  // silent
      if (!receiver.OnCommit(item.generation, item.question).ok()) return Failed(costs, network.retransmits());
      uint64_t to_verify = 0;
      uint32_t chunk = 0;
      std::vector<uint32_t> chunks;
      while (receiver.NextToVerify(&chunk)) {
        chunks.push_back(chunk);
        to_verify += plan.length(chunk);
      }
      for (uint32_t verified : chunks) receiver.OnVerified(verified, true);
      const double verify_ns = static_cast<double>(to_verify) / costs.verify_all_bytes_per_ns;
      network.Schedule(Delivery::Kind::kLaneFree, kDeliveryTag, now_ns + static_cast<int64_t>(verify_ns));
      continue;
    }
    Report report;
    while (receiver.NextReport(&report)) network.Reply(mail.Add(report), now_ns);
  }
  return Failed(costs, network.retransmits());
}

Outcome Stream(uint64_t bytes, const RailState& rail, const HostCosts& costs, uint64_t seed) {
  Network network(rail, costs, seed, kStreamQueuePairs);
  const TransferPlan plan = MakePlan(bytes, kStreamChunkBytes, costs);
  StreamReceiver receiver(plan, true, 2 * kStreamWindow);
  StreamSender sender(plan, receiver.initial_credit_end());
  Mail mail;
  int64_t lane_free_ns = 0;
  const auto post = [&](int64_t now_ns) {
    WorkItem item;
    while (sender.Next(now_ns, &item)) {
      network.Post(item.chunk % kStreamQueuePairs, mail.Add(item), item.length, now_ns);
    }
  };
  post(Rendezvous(&network, costs));
  Delivery delivery;
  while (network.Next(&delivery)) {
    const int64_t now_ns = delivery.time_ns;
    if (delivery.kind == Delivery::Kind::kReport) {
      if (!sender.OnReport(mail.reports[delivery.tag], now_ns).ok()) return Failed(costs, network.retransmits());
      if (sender.state() == SenderState::kDone) return {now_ns, network.retransmits(), false};
      post(now_ns);
      continue;
    }
    const WorkItem& item = mail.items[delivery.tag];
    if (delivery.kind == Delivery::Kind::kItem) {  // one lane verifies what comes, in order of arrival
      const double verify_ns = static_cast<double>(item.length) / costs.verify_bytes_per_ns;
      lane_free_ns = std::max(lane_free_ns, now_ns) + costs.chunk_ns + static_cast<int64_t>(verify_ns);
      network.Schedule(Delivery::Kind::kLaneFree, delivery.tag, lane_free_ns);
      continue;
    }
    if (!receiver.OnChunk(item.generation, item.chunk, true).ok()) return Failed(costs, network.retransmits());
    uint32_t chunk = 0;
    while (receiver.NextToDeliver(&chunk)) {
    }
    Report report;
    while (receiver.NextReport(&report)) network.Reply(mail.Add(report), now_ns);
  }
  return Failed(costs, network.retransmits());
}

// One message with its payload, copied on both sides; no machine is needed.
Outcome Eager(uint64_t bytes, const RailState& rail, const HostCosts& costs, uint64_t seed) {
  Network network(rail, costs, seed, 1);
  const auto copy_ns = static_cast<int64_t>(static_cast<double>(bytes) / costs.copy_bytes_per_ns);
  network.Post(0, kDeliveryTag, bytes, copy_ns);
  Delivery delivery;
  while (network.Next(&delivery)) {
    if (delivery.kind == Delivery::Kind::kReport) return {delivery.time_ns, network.retransmits(), false};
    const double verify_ns = static_cast<double>(bytes) / costs.verify_bytes_per_ns;
    network.Reply(kDeliveryTag, delivery.time_ns + copy_ns + static_cast<int64_t>(verify_ns));
  }
  return Failed(costs, network.retransmits());
}

// The first complete copy wins. The host's bus carries both.
Outcome Replica(uint64_t bytes, uint16_t rails_used, absl::Span<const RailState> rails, const HostCosts& costs,
                uint64_t seed) {
  Outcome best;
  bool any = false;
  for (uint16_t left = rails_used; left != 0; left &= static_cast<uint16_t>(left - 1)) {
    const auto rail = static_cast<size_t>(std::countr_zero(left));
    const Outcome copy = Bulk(bytes, rails[rail], costs, Random(seed + rail).Next());
    const bool better = !any || (copy.failed == best.failed ? copy.latency_ns < best.latency_ns : best.failed);
    if (better) best = copy;
    any = true;
  }
  best.latency_ns += static_cast<int64_t>(static_cast<double>(bytes) * costs.replica_ns_per_byte);
  return best;
}

}  // namespace

Outcome SimulateTransfer(const Alternative& alternative, uint64_t bytes, absl::Span<const RailState> rails,
                         const HostCosts& costs, uint64_t seed) {
  const RailState& rail = rails[static_cast<size_t>(std::countr_zero(alternative.rails))];
  switch (alternative.protocol) {
    case Protocol::kEager:
      return Eager(bytes, rail, costs, seed);
    case Protocol::kBulk:
      return Bulk(bytes, rail, costs, seed);
    case Protocol::kStream:
      return Stream(bytes, rail, costs, seed);
    case Protocol::kReplica:
      return Replica(bytes, alternative.rails, rails, costs, seed);
  }
  return Failed(costs, 0);
}

}  // namespace mcp::internal
