// What tests ask of the fake device: to count, to fail, to lose.
#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "tests/support/fake_verbs_objects.h"
#include "transports/verbs/address.h"

namespace mcp::internal {

void Push(FakeId& to, ConnectionEvent event) {
  auto* channel = FakeOf<FakeEventChannel>(to.id.channel);
  event.id = event.id == nullptr ? &to.id : event.id;
  channel->events.push_back(event);
  channel->signal.Set();
}

ConnectionEvent EventOf(rdma_cm_event_type type, int status, absl::Span<const std::byte> data) {
  ConnectionEvent event;
  event.type = type;
  event.status = status;
  event.data_bytes = static_cast<uint8_t>(data.size());
  std::copy(data.begin(), data.end(), event.data.begin());
  return event;
}

std::string FakeOperations::HostOf(const FakeContext& context, uint8_t port) {
  return absl::StrCat("127.", port - 1, ".", context.number, ".1");
}

std::string FakeOperations::HostOf(const sockaddr* address) {
  char text[INET_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof(text));
  }
  return text;
}

std::vector<GidEntry> FakeFabric::GidsOf(uint8_t device) const {
  std::vector<GidEntry> gids;
  for (uint8_t port = 1; port <= ports; ++port) {
    GidEntry& gid = gids.emplace_back();
    gid.gid.raw[10] = gid.gid.raw[11] = 0xff;
    gid.gid.raw[12] = 127;
    gid.gid.raw[13] = static_cast<uint8_t>(port - 1);
    gid.gid.raw[14] = device;
    gid.gid.raw[15] = 1;
    gid.port = port;
    gid.roce_v2 = true;
  }
  if (device == 0) {
    GidEntry& ipv6 = gids.emplace_back();
    ipv6.gid.raw[15] = 1;
    ipv6.index = 1;
    ipv6.roce_v2 = true;
  }
  for (uint8_t port = 1; port <= ports && has_roce_v1; ++port) {
    GidEntry& old = gids.emplace_back(gids[port - 1]);
    old.index = 2;
    old.roce_v1 = std::exchange(old.roce_v2, false);
  }
  return gids;
}

int FakeFabric::GidIndexFor(uint8_t device, uint8_t port, const sockaddr* source) const {
  int index = -1;
  for (const GidEntry& gid : GidsOf(device)) {
    const std::optional<VerbsAddress> address = AddressOfGid(gid);
    if (gid.port != port || !address->SameHost(CopyVerbsAddress(source))) continue;
    if (index < 0 || gid.roce_v1 == prefers_roce_v1) index = static_cast<int>(gid.index);
  }
  return index;
}

void FakeFabric::AddRoceV1(RoceMode default_mode) {
  const std::lock_guard<std::mutex> lock(mutex);
  has_roce_v1 = true;
  prefers_roce_v1 = default_mode == RoceMode::kV1;
}

FakeFabric::Counters FakeFabric::counters() {
  const std::lock_guard<std::mutex> lock(mutex);
  counts.regions = regions.size();
  return counts;
}

void FakeFabric::FailNext(ibv_wc_status status, uint64_t after) {
  const std::lock_guard<std::mutex> lock(mutex);
  fail_next = static_cast<int>(status);
  spared_before = after;
}

void FakeFabric::LoseDevice(size_t engine, uint8_t device, uint64_t after_bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  FakeContext::Traffic& traffic = contexts[engine * devices + device]->traffic[0];
  traffic.bytes_max = traffic.bytes_moved + after_bytes;
}

void FakeFabric::LosePort(size_t engine, uint8_t device, uint8_t port, uint64_t after_bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  FakeContext::Traffic& traffic = contexts[engine * devices + device]->traffic[port];
  traffic.bytes_max = traffic.bytes_moved + after_bytes;
}

void FakeFabric::SetPortsDown(bool down) {
  const std::lock_guard<std::mutex> lock(mutex);
  ports_down = down;
}

uint64_t FakeFabric::BytesMoved(size_t engine, uint8_t device, uint8_t port) {
  const std::lock_guard<std::mutex> lock(mutex);
  return contexts[engine * devices + device]->traffic[port].bytes_moved;
}

void FakeFabric::HoldSends(bool held) {
  const std::lock_guard<std::mutex> lock(mutex);
  hold = held;
}

void FakeFabric::TakeWindowsAway() {
  const std::lock_guard<std::mutex> lock(mutex);
  windows = false;
}

void FakeFabric::LimitReads(size_t engine, int most) {
  const std::lock_guard<std::mutex> lock(mutex);
  reads_of_engines[engine] = most;
}

void FakeFabric::TakeDmabufsAway() {
  const std::lock_guard<std::mutex> lock(mutex);
  dmabufs = false;
}

void FakeFabric::MoveFar(uint8_t device) {
  const std::lock_guard<std::mutex> lock(mutex);
  far_device = device;
}

void FakeFabric::SetDistances(uint8_t device, const std::vector<uint8_t>& from_nodes) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (size_t node = 0; node < from_nodes.size(); ++node) {
    distances[device][MemoryNodeOf(static_cast<int>(node))] = from_nodes[node];
  }
}

void FakeFabric::PutOnNode(absl::Span<const std::byte> memory, int node) {
  const std::lock_guard<std::mutex> lock(mutex);
  placed_memory.push_back({memory.data(), memory.data() + memory.size(), MemoryNodeOf(node)});
}

void FakeFabric::HideNodes() {
  const std::lock_guard<std::mutex> lock(mutex);
  nodes_hidden = true;
}

NodeDistances FakeFabric::DistancesOf(uint8_t device) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = distances.find(device);
  return found == distances.end() ? NodeDistances{} : found->second;
}

// On a node where all of it was put there.
absl::StatusOr<MemoryNode> FakeFabric::NodeOf(absl::Span<const std::byte> range) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (nodes_hidden) return ErrnoStatus(EPERM, "fake: nodes");
  for (const PlacedMemory& placed : placed_memory) {
    if (range.data() >= placed.begin && range.data() + range.size() <= placed.end) return placed.node;
  }
  return kNoNode;
}

void FakeFabric::Cut(const std::string& address) {
  const std::lock_guard<std::mutex> lock(mutex);
  cut.insert(address);
}

void FakeFabric::LoseRequests(int count) {
  const std::lock_guard<std::mutex> lock(mutex);
  requests_to_lose = count;
}

void FakeFabric::RefuseQueuePairs(bool refuse) {
  const std::lock_guard<std::mutex> lock(mutex);
  queue_pairs_refused = refuse;
}

void FakeFabric::LoseRejections(int count) {
  const std::lock_guard<std::mutex> lock(mutex);
  rejections_to_lose = count;
}

void FakeFabric::SetLastReceives(LastReceives receives) {
  const std::lock_guard<std::mutex> lock(mutex);
  last_receives = receives;
  if (receives == LastReceives::kKept) return;
  for (const auto& [number, qp] : queue_pairs) {
    if (qp->kept_receive.has_value()) FakeOperations::GiveBackReceive(*this, *qp);
  }
}

void FakeFabric::Count(const PortCounters& more) {
  const std::lock_guard<std::mutex> lock(mutex);
  port_counters.times_sent_again += more.times_sent_again;
  port_counters.packets_sent += more.packets_sent;
}

void FakeFabric::Report(ibv_event_type type) {
  const std::lock_guard<std::mutex> lock(mutex);
  ibv_async_event event = {};
  event.event_type = type;
  const bool about_queue_pairs = type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
                                 type == IBV_EVENT_QP_ACCESS_ERR || type == IBV_EVENT_COMM_EST ||
                                 type == IBV_EVENT_SQ_DRAINED || type == IBV_EVENT_PATH_MIG ||
                                 type == IBV_EVENT_PATH_MIG_ERR || type == IBV_EVENT_QP_LAST_WQE_REACHED;
  if (!about_queue_pairs) {
    event.element.port_num = 1;
    for (FakeContext* context : contexts) FakeOperations::Report(*context, event);
    return;
  }
  for (const auto& [number, qp] : queue_pairs) {
    event.element.qp = &qp->qp;
    FakeOperations::Report(*qp->context, event);
  }
}

}  // namespace mcp::internal
