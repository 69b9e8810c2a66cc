#include "transports/verbs/device.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "transports/verbs/numa.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kWriteBytesMax = uint64_t{256} << 20;
// Safety net behind the credit: a peer without receive buffers is asked again after 1.28 ms, so often.
constexpr uint8_t kRnrTimer = 14;
constexpr uint8_t kRnrRetryCount = 6;
// A few round trips of a slow path, and a small part of the time-out (VerbsConfig) that finds a loss otherwise.
constexpr int64_t kTailProbeNs = 5'000'000;
constexpr int kReadsMax = 16;
constexpr size_t kConnectionsMax = 65536;

int MtuBytes(ibv_mtu mtu) { return 128 << mtu; }

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> CreateVerbsTransport(std::shared_ptr<VerbsNetwork> network, Clock* clock,
                                                                uint32_t lane) {
  return VerbsTransport::Create(std::static_pointer_cast<VerbsNetworkImpl>(std::move(network)), clock, lane);
}

absl::StatusOr<std::unique_ptr<Transport>> VerbsTransport::Create(std::shared_ptr<VerbsNetworkImpl> network,
                                                                  Clock* clock, uint32_t lane) {
  std::unique_ptr<VerbsTransport> transport(new VerbsTransport(std::move(network), clock, lane));
  MCP_ASSIGN_OR_RETURN(transport->channel_, transport->calls().CreateEventChannel());
  transport->wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (transport->wake_fd_ < 0) return ErrnoStatus(errno, "eventfd");
  return transport;
}

VerbsTransport::VerbsTransport(std::shared_ptr<VerbsNetworkImpl> network, Clock* clock, uint32_t lane)
    : network_(std::move(network)), clock_(clock), lane_(lane), reports_seen_(network_->reports()) {
  for (size_t i = 0; i < kChainMax; ++i) {
    chain_[i] = ibv_send_wr();
    chain_[i].next = i + 1 < kChainMax ? &chain_[i + 1] : nullptr;
    chain_[i].sg_list = chain_entries_[i].data();
  }
  info_.name = "verbs";
  uint64_t message_max = kWriteBytesMax;
  for (size_t i = 0; i < network_->device_count(); ++i) {
    const VerbsDevice& device = network_->device(i);
    absl::StrAppend(&info_.device, info_.device.empty() ? "" : ", ", device.opened.name, "/", device.port);
    message_max = std::min<uint64_t>(message_max, device.port_attributes.max_msg_sz);
  }
  info_.capabilities = kCapabilityRemotePlacement | kCapabilityZeroCopySend | kCapabilityOneSided;
  info_.message_bytes_max = kVerbsMessageBytesMax;
  info_.eager_bytes_max = kVerbsEagerBytesMax;
  info_.eager_bytes_most = kVerbsEagerBytesMax;
  info_.write_bytes_max = std::min(kWriteBytesMax, message_max * kWritePiecesMax);
  info_.tail_probe_ns = kTailProbeNs;
  network_->AddLane(this);
}

VerbsTransport::~VerbsTransport() {
  network_->RemoveLane(this);
  for (const std::unique_ptr<VerbsConnection>& connection : connections_) {
    if (connection->state != State::kFree) FinishClose(*connection);
  }
  FreeWindows();
  for (const Listener& listener : listeners_) calls().DestroyId(listener.id);
  for (const Event& event : queued_) delete event.pending;
  if (channel_ != nullptr) calls().DestroyEventChannel(channel_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

absl::StatusOr<VerbsConnection*> VerbsTransport::NewConnection(void* context) {
  if (free_ids_.empty()) {
    if (connections_.size() == kConnectionsMax) {
      return absl::ResourceExhaustedError(absl::StrCat("verbs: ", kConnectionsMax, " connections on one lane"));
    }
    connections_.push_back(std::make_unique<VerbsConnection>());
    connections_.back()->id = static_cast<ConnectionId>(connections_.size() - 1);
    free_ids_.push_back(connections_.back()->id);
  }
  VerbsConnection* connection = connections_[free_ids_.back()].get();
  free_ids_.pop_back();
  connection->context = context;
  return connection;
}

absl::StatusOr<LaneQueues*> VerbsTransport::QueuesOf(VerbsDevice& device) {
  std::unique_ptr<LaneQueues>& queues = queues_[device.index];
  if (queues == nullptr) {
    MCP_ASSIGN_OR_RETURN(queues, LaneQueues::Create(*network_, device));
    queues_in_use_.push_back(queues.get());
  }
  return queues.get();
}

absl::Status VerbsTransport::MakeQueuePair(VerbsConnection& connection) {
  if (connection.device->gone.load(std::memory_order_acquire)) {
    return absl::UnavailableError(absl::StrCat("verbs ", connection.device->opened.name, ": the device is gone"));
  }
  MCP_ASSIGN_OR_RETURN(LaneQueues * queues, QueuesOf(*connection.device));
  MCP_RETURN_IF_ERROR(queues->TakeShare());
  connection.queues = queues;
  connection.report.event.store(-1);
  connection.report.last_receive.store(false);
  connection.receives = false;
  MCP_ASSIGN_OR_RETURN(connection.qp, queues->CreateQueuePair(&connection.report));
  connection.inline_bytes_max = queues->inline_bytes_max();
  connection.plain_bytes_max = std::min<uint64_t>(connection.device->port_attributes.max_msg_sz, info_.write_bytes_max);
  by_qp_[connection.device->index][connection.qp->qp_num] = &connection;
  return absl::OkStatus();
}

QueuePairSettings VerbsTransport::SettingsFor(const VerbsConnection& connection, ibv_mtu path_mtu_max) const {
  const ibv_device_attr& limits = connection.device->opened.attributes;
  QueuePairSettings settings;
  settings.path_mtu_max = path_mtu_max;
  settings.timeout = network_->config().timeout;
  settings.retry_count = network_->config().retry_count;
  settings.rnr_timer_min = kRnrTimer;
  settings.rnr_retry_count = kRnrRetryCount;
  settings.reads_max =
      static_cast<uint8_t>(std::clamp(std::min(limits.max_qp_rd_atom, limits.max_qp_init_rd_atom), 0, kReadsMax));
  return settings;
}

std::string VerbsTransport::WhyThisDevice(const VerbsConnection& connection) const {
  if (connection.paths.empty()) return "the peer came by it";
  const VerbsPath& path = connection.paths[connection.path];
  if (!path.source.has_value()) return "it has the route to the peer";
  if (!network_->config().devices.empty()) return "asked for";
  return absl::StrCat("path ", connection.path + 1, " of ", connection.paths.size(), " to the peer");
}

ConnectionDescription VerbsTransport::Describe(ConnectionId id) const {
  ConnectionDescription description;
  const VerbsConnection* connection = Find(id);
  if (connection == nullptr) return description;
  description.local_address = connection->local_address;
  description.remote_address = connection->remote_address;
  if (connection->device == nullptr) return description;
  const VerbsDevice& device = *connection->device;
  description.notes.push_back(
      absl::StrCat("device ", device.opened.name, ": ", WhyThisDevice(*connection), ", port ", device.port));
  if (connection->gid_index >= 0) {
    description.notes.push_back(absl::StrCat("GID ", device.GidText(connection->gid_index)));
  }
  if (const std::string distances = FormatDistances(device.distances); !distances.empty()) {
    description.notes.push_back(absl::StrCat("NUMA distance from memory of ", distances));
  }
  description.notes.push_back(absl::StrCat("path MTU ", MtuBytes(connection->path_mtu), ": the smaller of both ends'"));
  for (const std::string& line : connection->passed_over) {
    description.notes.push_back(absl::StrCat("path not taken: ", line));
  }
  for (const std::string& line : network_->passed_over()) {
    description.notes.push_back(absl::StrCat("not used: ", line));
  }
  return description;
}

NodeDistances VerbsTransport::Distances(ConnectionId id) const {
  const VerbsConnection* connection = Find(id);
  return connection == nullptr || connection->device == nullptr ? NodeDistances{} : connection->device->distances;
}

PathStatistics VerbsTransport::Statistics(ConnectionId id) const {
  const VerbsConnection* connection = Find(id);
  if (connection == nullptr || connection->device == nullptr) return {};
  const Losses losses = network_->LossesOf(*connection->device, clock_->NowNs());
  return {.retransmits = losses.times_sent_again(),
          .counter = reinterpret_cast<uintptr_t>(connection->device),
          .bytes_between_losses = losses.packets_between() * static_cast<uint64_t>(MtuBytes(connection->path_mtu))};
}

uint64_t VerbsTransport::MemoryBytes(ConnectionId id) const {
  const VerbsConnection* connection = Find(id);
  if (connection == nullptr) return 0;
  return sizeof(VerbsConnection) + connection->hello.capacity() +
         (connection->queues == nullptr ? 0 : uint64_t{kReceiveShare} * kVerbsMessageBytesMax);
}

}  // namespace mcp::internal
