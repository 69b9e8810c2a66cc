#include "perf/sim/network.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "tests/support/noise.h"

namespace mcp::internal {
namespace {

constexpr double kParetoShape = 1.5;

}  // namespace

Network::Network(const RailState& rail, const HostCosts& costs, uint64_t seed, uint32_t queue_pairs)
    : rail_(rail), costs_(costs), random_(seed), queue_pairs_(queue_pairs) {}

void Network::Push(int64_t time_ns, bool internal, Delivery::Kind kind, uint32_t tag) {
  events_.push_back({time_ns, next_number_++, internal, kind, tag});
  std::push_heap(events_.begin(), events_.end(), std::greater<>());
}

int64_t Network::Latency() {
  double factor = LogNormal(&random_, rail_.jitter);
  if (random_.Unit() < rail_.stall_share) factor += Exp2(-Log2(1.0 - random_.Unit()) / kParetoShape);
  return static_cast<int64_t>(static_cast<double>(rail_.latency_ns) * factor);
}

int64_t Network::Serialization(uint64_t bytes) const {
  return static_cast<int64_t>(static_cast<double>(bytes) / rail_.bytes_per_ns);
}

// Geometric. log2(1 - p) by its series: the polynomial of Log2 is too coarse next to 1.
uint64_t Network::PacketsBeforeLoss() {
  if (rail_.loss <= 0) return std::numeric_limits<uint64_t>::max();
  const double p = rail_.loss;
  const double log2_survival = -1.4426950408889634 * p * (1 + p * (0.5 + p * (1.0 / 3 + p * 0.25)));
  return static_cast<uint64_t>(Log2(1.0 - random_.Unit()) / log2_survival);
}

void Network::Post(uint32_t queue_pair, uint32_t tag, uint64_t bytes, int64_t now_ns) {
  if (!rail_.up) return;
  QueuePair& qp = queue_pairs_[queue_pair];
  qp.queue.push_back({tag, std::max<uint64_t>(bytes, 64)});
  if (qp.busy) return;
  qp.busy = true;
  Push(now_ns + costs_.post_ns, true, Delivery::Kind::kItem, queue_pair);
}

void Network::Reply(uint32_t tag, int64_t now_ns) {
  int64_t arrival = now_ns + costs_.post_ns + Latency();
  // A lost reply is sent again by its own queue pair, a round trip later.
  while (random_.Unit() < rail_.loss) arrival += 2 * rail_.latency_ns;
  Push(arrival + costs_.notice_ns, false, Delivery::Kind::kReport, tag);
}

void Network::Schedule(Delivery::Kind kind, uint32_t tag, int64_t time_ns) { Push(time_ns, false, kind, tag); }

// The work request at the head of a queue pair's queue, from the packet where it stands.
void Network::Transmit(uint32_t index, int64_t now_ns) {
  QueuePair& qp = queue_pairs_[index];
  if (qp.queue.empty()) {
    qp.busy = false;
    return;
  }
  WorkRequest& request = qp.queue.front();
  const uint64_t packets = (request.bytes_left + costs_.packet_bytes - 1) / costs_.packet_bytes;
  const uint64_t lost = PacketsBeforeLoss();
  const int64_t start = std::max(now_ns, link_free_ns_);
  if (lost >= packets) {
    const int64_t end = start + Serialization(request.bytes_left);
    link_free_ns_ = end;
    qp.last_arrival_ns = std::max(qp.last_arrival_ns, end + Latency());
    Push(qp.last_arrival_ns + costs_.notice_ns, false, Delivery::Kind::kItem, request.tag);
    qp.queue.pop_front();
    Push(end, true, Delivery::Kind::kItem, index);
    return;
  }
  ++retransmits_;
  const uint64_t sent = lost * costs_.packet_bytes;
  const int64_t lost_ns = start + Serialization(sent + costs_.packet_bytes);
  uint64_t behind = request.bytes_left - std::min(request.bytes_left, sent + costs_.packet_bytes);
  for (size_t i = 1; i < qp.queue.size(); ++i) behind += qp.queue[i].bytes_left;
  request.bytes_left -= sent;
  if (behind == 0) {
    link_free_ns_ = lost_ns;
    Push(lost_ns + costs_.timeout_ns, true, Delivery::Kind::kItem, index);
    return;
  }
  const int64_t round_trip = Latency() + Latency() + Serialization(costs_.packet_bytes);
  const int64_t wasted = std::min(Serialization(behind), round_trip);
  link_free_ns_ = lost_ns + wasted;
  Push(lost_ns + round_trip, true, Delivery::Kind::kItem, index);
}

bool Network::Next(Delivery* delivery) {
  while (!events_.empty()) {
    const Event event = events_.front();
    std::pop_heap(events_.begin(), events_.end(), std::greater<>());
    events_.pop_back();
    if (event.internal) {
      Transmit(event.tag, event.time_ns);
      continue;
    }
    *delivery = {event.time_ns, event.kind, event.tag};
    return true;
  }
  return false;
}

}  // namespace mcp::internal
