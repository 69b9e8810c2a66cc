#include "transports/tcp/device.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/status_macros.h"
#include "transports/tcp/socket_options.h"

namespace mcp::internal {
namespace {

// Payload up to here is better inside a message: it saves the peer a receive and costs it a copy. Writes of 16 KiB were
// a tenth faster than messages even before that copy, those of 4 KiB a little slower.
constexpr uint32_t kEagerBytesMax = 8 * 1024;
// Listeners, candidates and connections' two sockets.
constexpr uint32_t kSpareSockets = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> CreateTcpTransport(std::shared_ptr<TcpNetwork> network, RegionTable* regions,
                                                              Clock* clock, uint32_t lane) {
  return TcpTransport::Create(std::static_pointer_cast<TcpNetworkImpl>(std::move(network)), regions, clock, lane);
}

absl::StatusOr<std::unique_ptr<Transport>> TcpTransport::Create(std::shared_ptr<TcpNetworkImpl> network,
                                                                RegionTable* regions, Clock* clock, uint32_t lane) {
  const TcpConfig& config = network->config();
  const uint32_t sockets_max = 2 * config.connections_max + config.pending_sockets_max + kSpareSockets;
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<Reactor> reactor,
                       network->uses_io_uring() ? MakeUringReactor(sockets_max) : MakeEpollReactor(sockets_max));
  if (config.polled) reactor = MakePolledReactor(std::move(reactor));
  return std::unique_ptr<Transport>(new TcpTransport(std::move(network), regions, clock, lane, std::move(reactor)));
}

TcpTransport::TcpTransport(std::shared_ptr<TcpNetworkImpl> network, RegionTable* regions, Clock* clock, uint32_t lane,
                           std::unique_ptr<Reactor> reactor)
    : network_(std::move(network)),
      regions_(regions),
      clock_(clock),
      lane_(lane),
      invalidations_seen_(regions->invalidations()),
      reactor_(std::move(reactor)) {
  info_.name = "tcp";
  info_.device = network_->uses_io_uring() ? "io_uring" : "epoll";
  if (network_->config().zero_copy != TcpConfig::ZeroCopy::kOff) info_.capabilities |= kCapabilityZeroCopySend;
  info_.message_bytes_max = kTcpMessageBytesMax;
  info_.write_bytes_max = kTcpWriteBytesMax;
  info_.eager_bytes_max = kEagerBytesMax;
  info_.eager_bytes_most = kTcpMessageBytesMax - kHeaderBytesMax;
  delivered_buffers_.reserve(kReceiveBuffers + kPolledBuffers);
}

TcpTransport::~TcpTransport() {
  reactor_.reset();
  for (const std::unique_ptr<Connection>& connection : connections_) ReleaseResources(*connection);
  blocks_.ReleaseChain(std::exchange(delivered_blocks_, nullptr));
  for (const Event& event : handshakes_) delete event.pending;
}

absl::StatusOr<SocketId> TcpTransport::AddSocket(int fd, SocketOwner owner) {
  MCP_ASSIGN_OR_RETURN(const SocketId id, reactor_->Add(fd));
  if (id >= owners_.size()) owners_.resize(id + 1);
  owners_[id] = owner;
  return id;
}

void TcpTransport::RemoveSocket(SocketId id) {
  reactor_->Remove(id);
  owners_[id] = SocketOwner();
}

absl::StatusOr<Connection*> TcpTransport::NewConnection(void* context) {
  if (free_connections_.empty()) {
    if (connections_.size() == network_->config().connections_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("tcp: lane ", lane_, " has its ", connections_.size(), " connections"));
    }
    free_connections_.push_back(static_cast<ConnectionId>(connections_.size()));
    connections_.push_back(std::make_unique<Connection>());
    for (auto* list : {&dirty_, &flushing_, &ready_, &delivering_, &receiving_payload_, &closed_}) {
      list->reserve(connections_.size());
    }
  }
  const ConnectionId id = free_connections_.back();
  free_connections_.pop_back();
  Connection& connection = *connections_[id];
  MCP_ASSERT(connection.state == Connection::State::kFree);
  connection = Connection();
  connection.id = id;
  connection.context = context;
  return &connection;
}

ConnectionDescription TcpTransport::Describe(ConnectionId id) const {
  const Connection& connection = *connections_[id];
  ConnectionDescription description;
  if (connection.local.length > 0) description.local_address = FormatAddress(connection.local);
  if (connection.remote.length > 0) description.remote_address = FormatAddress(connection.remote);
  description.notes = connection.notes;
  return description;
}

PathStatistics TcpTransport::Statistics(ConnectionId id) const {
  const Connection& connection = *connections_[id];
  PathStatistics statistics;
  if (connection.control.fd.valid()) AddStatistics(connection.control.fd.get(), &statistics);
  if (connection.data.fd.valid()) AddStatistics(connection.data.fd.get(), &statistics);
  return statistics;
}

uint64_t TcpTransport::MemoryBytes(ConnectionId id) const {
  const Connection& connection = *connections_[id];
  uint64_t bytes = sizeof(Connection) + connection.control_sender.memory_bytes() +
                   connection.data_sender.memory_bytes() + connection.held.bytes();
  for (const std::string& note : connection.notes) bytes += sizeof(note) + note.capacity();
  if (connection.partial != nullptr) bytes += sizeof(Block) + connection.partial->capacity;
  if (connection.receive_batch != nullptr) bytes += sizeof(ReceiveBatch);
  if (connection.connecting != nullptr) bytes += sizeof(Connecting) + kTcpHelloBytesMax;
  return bytes;
}

}  // namespace mcp::internal
