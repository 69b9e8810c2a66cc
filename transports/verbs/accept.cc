// The accepting side: listeners, requests whose hello comes in pieces, and the welcome.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "transports/verbs/device.h"

namespace mcp::internal {
namespace {

constexpr int kBacklog = 128;
// Hellos that have come in part; the oldest goes when there are more.
constexpr size_t kPartialHellosMax = 256;
// From accepting to the peer's confirmation.
constexpr int64_t kConfirmNs = 10 * kNsPerS;
// Within which the next piece of a hello comes, unless one got lost.
constexpr int64_t kNextPieceNs = 100 * kNsPerMs;

// A request that waits in the network's waiting room, which belongs to no lane.
class VerbsPending final : public PendingConnection {
 public:
  VerbsPending(std::shared_ptr<VerbsNetworkImpl> network, rdma_cm_id* id, ConnectData data,
               std::vector<std::byte> hello, std::string listener)
      : network_(std::move(network)),
        id_(id),
        data_(data),
        hello_(std::move(hello)),
        remote_address_(FormatVerbsAddress(rdma_get_peer_addr(id))),
        listener_address_(std::move(listener)) {
    data_.piece = {};
  }
  ~VerbsPending() override {
    if (id_ != nullptr) Refuse("the request was dropped");
  }

  absl::Span<const std::byte> hello() const override { return hello_; }
  std::string remote_address() const override { return remote_address_; }
  std::string listener_address() const override { return listener_address_; }

  void Refuse(absl::string_view reason) override {
    if (id_ == nullptr) return;
    const std::string bytes = EncodeReject({false, data_.nonce, 0, std::string(reason)});
    // The peer finds out by itself if this fails.
    network_->calls().Reject(id_, {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}).IgnoreError();
    network_->calls().DestroyId(std::exchange(id_, nullptr));
  }

  const ConnectData& data() const { return data_; }
  bool refused() const { return id_ == nullptr; }
  rdma_cm_id* Release() { return std::exchange(id_, nullptr); }

 private:
  const std::shared_ptr<VerbsNetworkImpl> network_;
  rdma_cm_id* id_;
  ConnectData data_;
  const std::vector<std::byte> hello_;
  const std::string remote_address_;
  const std::string listener_address_;
};

}  // namespace

absl::StatusOr<std::string> VerbsTransport::Listen(absl::string_view text) {
  MCP_ASSIGN_OR_RETURN(VerbsAddress address, ParseVerbsAddress(text));
  MCP_ASSIGN_OR_RETURN(rdma_cm_id * id, calls().CreateId(channel_, nullptr));
  absl::Status listening = calls().Listen(id, address.raw(), kBacklog);
  // The connection manager lets one listen where no device is, and nobody can connect.
  const bool is_there = address.is_any() || network_->DeviceAt(address) != nullptr ||
                        (listening.ok() && network_->DeviceOf(id) != nullptr);
  if (!is_there) {
    listening =
        absl::UnavailableError(absl::StrCat(listening.message(), listening.ok() ? "" : "; ",
                                            "no RDMA device has the address (", network_->AddressesText(), ")"));
  }
  if (!listening.ok()) {
    calls().DestroyId(id);
    return absl::Status(listening.code(), absl::StrCat("verbs: listen at ", text, ": ", listening.message()));
  }
  listeners_.push_back({id, FormatVerbsAddress(rdma_get_local_addr(id))});
  return listeners_.back().address;
}

void VerbsTransport::StopListening(absl::string_view bound_address) {
  const auto found = std::find_if(listeners_.begin(), listeners_.end(),
                                  [&](const Listener& listener) { return listener.address == bound_address; });
  if (found == listeners_.end()) return;
  calls().DestroyId(found->id);
  listeners_.erase(found);
}

// Where else the listener is that the request came to: on every device, if it is bound to none.
std::vector<VerbsAddress> VerbsTransport::ElsewhereThan(const VerbsDevice& device, const PendingConnection& request) {
  const absl::StatusOr<VerbsAddress> listener = ParseVerbsAddress(request.listener_address());
  const absl::StatusOr<VerbsAddress> caller = ParseVerbsAddress(request.remote_address());
  if (!listener.ok() || !caller.ok() || !listener->is_any()) return {};
  return network_->OtherAddresses(device, caller->storage.ss_family, listener->port());
}

void VerbsTransport::Turn(rdma_cm_id* id, const RejectData& data) {
  const std::string bytes = EncodeReject(data);
  // The peer finds out by itself if this fails.
  calls().Reject(id, {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}).IgnoreError();
  calls().DestroyId(id);
}

void VerbsTransport::OnRequest(const ConnectionEvent& event) {
  const absl::StatusOr<ConnectData> data = DecodeConnect(event.private_data());
  if (!data.ok()) return Turn(event.id, {false, 0, 0, std::string(data.status().message())});
  const auto listener =
      std::find_if(listeners_.begin(), listeners_.end(), [&](const Listener& l) { return l.id == event.listener; });
  if (listener == listeners_.end()) return Turn(event.id, {false, data->nonce, 0, "nobody listens there any more"});
  std::vector<std::byte> hello;
  if (!CollectHello(*data, &hello)) {
    // What was lost, or never came: the connecting side starts over.
    if (hello.empty() && data->offset != 0 && !partial_hellos_.contains(data->nonce)) {
      return Turn(event.id, {false, data->nonce, 0, "the hello was interrupted"});
    }
    expects_pieces_ = true;
    pieces_until_ns_ = clock_->NowNs() + kNextPieceNs;
    return Turn(event.id, {true, data->nonce, static_cast<uint16_t>(data->offset + data->piece.size()), ""});
  }
  expects_pieces_ = expects_pieces_ && !partial_hellos_.empty();
  if (absl::Status moved = calls().MigrateId(event.id, network_->waiting_room()); !moved.ok()) {
    return Turn(event.id, {false, data->nonce, 0, std::string(moved.message())});
  }
  Event incoming;
  incoming.kind = Event::Kind::kIncoming;
  incoming.pending = new VerbsPending(network_, event.id, *data, std::move(hello), listener->address);
  queued_.push_back(std::move(incoming));
}

bool VerbsTransport::IsRepeated(const ConnectData& data) const {
  const auto known = partial_hellos_.find(data.nonce);
  if (known == partial_hellos_.end()) return false;
  const absl::Span<const std::byte> bytes = known->second.bytes;
  return known->second.total == data.hello_bytes && data.offset + data.piece.size() <= bytes.size() &&
         bytes.subspan(data.offset, data.piece.size()) == data.piece;
}

// True when the hello is whole. A piece may come again: its answer was lost.
bool VerbsTransport::CollectHello(const ConnectData& data, std::vector<std::byte>* hello) {
  if (IsRepeated(data)) return false;
  if (data.offset == 0) {
    if (partial_hellos_.size() >= kPartialHellosMax) {
      partial_hellos_.erase(std::min_element(partial_hellos_.begin(), partial_hellos_.end(),
                                             [](const auto& a, const auto& b) { return a.second.age < b.second.age; }));
    }
    PartialHello& begun = partial_hellos_[data.nonce];
    begun = PartialHello();
    begun.total = data.hello_bytes;
    begun.age = ++hellos_seen_;
  }
  const auto found = partial_hellos_.find(data.nonce);
  if (found == partial_hellos_.end()) return false;
  PartialHello& partial = found->second;
  if (partial.total != data.hello_bytes || partial.bytes.size() != data.offset) {
    partial_hellos_.erase(found);
    return false;
  }
  partial.bytes.insert(partial.bytes.end(), data.piece.begin(), data.piece.end());
  if (partial.bytes.size() < partial.total) return false;
  *hello = std::move(partial.bytes);
  partial_hellos_.erase(found);
  return true;
}

absl::StatusOr<ConnectionId> VerbsTransport::Accept(std::unique_ptr<PendingConnection> pending,
                                                    absl::Span<const std::byte> reply_hello, void* context) {
  auto& request = static_cast<VerbsPending&>(*pending);
  if (reply_hello.size() > kHelloBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("verbs: accept: a hello of ", reply_hello.size(), " bytes is longer than ", kHelloBytesMax));
  }
  if (request.refused()) return absl::FailedPreconditionError("verbs: accept: the request was refused before");
  MCP_ASSIGN_OR_RETURN(VerbsConnection * connection, NewConnection(context));
  rdma_cm_id* id = request.Release();
  connection->state = State::kAccepting;
  connection->cm_id = id;
  connection->nonce = request.data().nonce;
  connection->remote_device = request.data().device;
  connection->credits = std::min<uint32_t>(request.data().credits, network_->config().credits);
  connection->remote_address = request.remote_address();
  connection->local_address = FormatVerbsAddress(rdma_get_local_addr(id));
  connection->hello.assign(reply_hello.begin(), reply_hello.end());
  connection->deadline_ns = clock_->NowNs() + kConfirmNs;
  ++handshakes_;
  absl::Status accepted = [&]() -> absl::Status {
    connection->device = network_->DeviceOf(id);
    if (connection->device == nullptr) return absl::UnavailableError("verbs: the request came by a device not in use");
    MCP_RETURN_IF_ERROR(calls().MigrateId(id, channel_));
    id->context = connection;
    MCP_RETURN_IF_ERROR(MakeQueuePair(*connection));
    MCP_RETURN_IF_ERROR(calls().PrepareQueuePair(id, connection->qp));
    const ibv_mtu path_mtu_max =
        std::min(static_cast<ibv_mtu>(request.data().path_mtu), connection->device->port_attributes.active_mtu);
    const QueuePairSettings settings = SettingsFor(*connection, path_mtu_max);
    MCP_ASSIGN_OR_RETURN(const SettledPath settled, calls().ReadyQueuePair(id, connection->qp, settings));
    connection->path_mtu = settled.path_mtu;
    connection->receives = true;
    connection->gid_index = settled.gid_index;
    const std::array<std::byte, kAcceptBytes> bytes =
        EncodeAccept({static_cast<uint8_t>(connection->path_mtu), network_->config().credits, connection->device->index,
                      connection->nonce, ElsewhereThan(*connection->device, request)});
    rdma_conn_param parameters = {};
    parameters.private_data = bytes.data();
    parameters.private_data_len = static_cast<uint8_t>(bytes.size());
    parameters.responder_resources = settled.reads_in;
    parameters.initiator_depth = settled.reads_out;
    parameters.flow_control = 1;
    parameters.rnr_retry_count = settings.rnr_retry_count;
    parameters.srq = 1;
    parameters.qp_num = connection->qp->qp_num;
    return calls().Accept(id, &parameters);
  }();
  if (accepted.ok()) return connection->id;
  --handshakes_;
  Turn(std::exchange(connection->cm_id, nullptr), {false, connection->nonce, 0, std::string(accepted.message())});
  FinishClose(*connection);
  return absl::Status(accepted.code(),
                      absl::StrCat("verbs: accept ", request.remote_address(), ": ", accepted.message()));
}

// The peer's queue pair is ready, as its confirmation says: what is sent now does not meet one that is not.
void VerbsTransport::SayWelcome(VerbsConnection& connection) {
  connection.state = State::kOpen;
  --handshakes_;
  connection.credit = connection.credits;
  if (!PostOwn(connection, MessageType::kWelcome, connection.hello)) {
    return BeginClose(connection, absl::ResourceExhaustedError("verbs: no room for the welcome"), false);
  }
  connection.hello = {};
  BindLostWindows(connection);
}

}  // namespace mcp::internal
