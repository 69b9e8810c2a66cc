// The connecting side: address, route, the hello in pieces, and the peer's welcome.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "transports/verbs/device.h"

namespace mcp::internal {
namespace {

constexpr int kResolveMsMax = 60'000;
// Where there are other paths to try: the kernel asks for a neighbour three times, once a second.
constexpr int kResolveMsPerPath = 1'000;
// The connection manager sends a request anew after 4.3 s only, and an answer that refuses one not at all. So whoever
// is not answered asks anew after about this, then twice as long, and so on; the deadline ends it.
constexpr int64_t kAskAgainNs = 250 * kNsPerMs;
constexpr uint32_t kAskAgainDoublings = 3;
// Where there are other paths to try: within about a second.
constexpr uint32_t kAsksPerPath = 2;
// Reasons of the connection manager, as events carry them (InfiniBand Architecture, 12.6.7.2).
constexpr int kRejectedNobodyListens = 8;
constexpr int kRejectedByConsumer = 28;

// An acceptor may name anything: what is asked is only what can be another way to the listener at `target`. That it is
// the same peer who answers there, the session makes sure of.
bool MayBeTheSame(const VerbsAddress& other, const VerbsAddress& target) {
  return other.storage.ss_family == target.storage.ss_family && other.port() == target.port() && !other.is_any() &&
         !other.is_link_local() && !other.SameHost(target);
}

// One address may have two GIDs, of RoCE v1 and v2. The kernel takes one of them and tells which with the peer's
// answer; the peer's end has followed it by then, so that another can't be put in its place.
absl::Status CheckGid(const VerbsConnection& connection, int asked) {
  if (asked < 0 || connection.gid_index == asked) return absl::OkStatus();
  const VerbsDevice& device = *connection.device;
  return absl::UnavailableError(absl::StrCat(
      "verbs ", device.name(), ": connect to ", connection.remote_address, ": GID ", device.GidText(asked),
      " was asked for, and the connection manager goes by ", device.GidText(connection.gid_index),
      " (of an address's GIDs it takes the one of the port's default_roce_mode: /sys/kernel/config/rdma_cm/",
      device.opened.name, "/ports/", device.port, "/default_roce_mode)"));
}

}  // namespace

absl::StatusOr<ConnectionId> VerbsTransport::Connect(absl::string_view address, uint32_t path,
                                                     absl::Span<const std::byte> hello, void* context,
                                                     int64_t deadline_ns) {
  if (hello.size() > kHelloBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("verbs: connect: a hello of ", hello.size(), " bytes is longer than ", kHelloBytesMax));
  }
  MCP_ASSIGN_OR_RETURN(const VerbsAddress target, ParseVerbsAddress(address));
  MCP_ASSIGN_OR_RETURN(VerbsConnection * connection, NewConnection(context));
  connection->state = State::kResolving;
  connection->paths = PathsTo(target, path);
  connection->peer = target;
  connection->hello.assign(hello.begin(), hello.end());
  connection->nonce = network_->NewNonce();
  connection->deadline_ns = deadline_ns;
  connection->first_rail = path == 0;
  ++handshakes_;
  absl::Status begun = BeginRequest(*connection);
  if (!begun.ok()) begun = TryNextPath(*connection, std::move(begun));
  if (!begun.ok()) BeginClose(*connection, std::move(begun), false);
  return connection->id;
}

// The first rail goes to the address that was asked for, by the route to it unless a device was asked for. What its
// answer told makes the pairs that further rails take in turn. The route stays as the last resort of each.
std::vector<VerbsPath> VerbsTransport::PathsTo(const VerbsAddress& target, uint32_t path) const {
  if (target.is_link_local()) return {{std::nullopt, target}};  // of the one interface that it names
  const sa_family_t family = target.storage.ss_family;
  const std::optional<VerbsPeers::Peer> known = network_->peers().Find(FormatVerbsAddress(target.raw()));
  std::vector<VerbsPath> by_route;
  if (!network_->chooses()) by_route.push_back({std::nullopt, target});
  if (!known.has_value() && !network_->chooses()) return by_route;
  const std::vector<VerbsAddress> sources =
      network_->Sources(family, known.has_value() ? std::optional(known->source) : std::nullopt);
  if (sources.empty()) return {{std::nullopt, target}};
  std::vector<VerbsAddress> targets = {target};
  for (const VerbsAddress& other : known.has_value() ? known->others : std::vector<VerbsAddress>()) {
    if (MayBeTheSame(other, target)) targets.push_back(other);
  }
  if (network_->device_count() == 1 && targets.size() == 1 && !by_route.empty()) return by_route;
  VerbsPaths paths = PairUp(sources, targets);
  const auto turn = static_cast<ptrdiff_t>(path % paths.spread);
  std::rotate(paths.pairs.begin(), paths.pairs.begin() + turn,
              paths.pairs.begin() + static_cast<ptrdiff_t>(paths.spread));
  paths.pairs.insert(paths.pairs.end(), by_route.begin(), by_route.end());
  return std::move(paths.pairs);
}

int VerbsTransport::RemainingMs(const VerbsConnection& connection) const {
  const int64_t left_ms = (connection.deadline_ns - clock_->NowNs()) / kNsPerMs;
  return static_cast<int>(std::clamp<int64_t>(left_ms, 1, OthersLeft(connection) ? kResolveMsPerPath : kResolveMsMax));
}

// Once the peer has heard a piece, the path is the one; unless it turns out to be somebody else.
bool VerbsTransport::OthersLeft(const VerbsConnection& connection) const {
  return connection.hello_offset == 0 && connection.path + 1 < connection.paths.size();
}

// A peer that has heard nothing yet may not be reached this way at all.
absl::Status VerbsTransport::AskAgain(VerbsConnection& connection) {
  if (connection.asked < kAsksPerPath || !OthersLeft(connection)) {
    absl::Status begun = BeginRequest(connection);
    return begun.ok() ? begun : TryNextPath(connection, std::move(begun));
  }
  return TryNextPath(connection,
                     absl::UnavailableError(absl::StrCat("verbs: connect to ", connection.remote_address,
                                                         ": no answer to ", connection.asked, " requests")));
}

absl::Status VerbsTransport::TryNextPath(VerbsConnection& connection, absl::Status why) {
  while (OthersLeft(connection)) {
    connection.passed_over.push_back(std::string(why.message()));
    ++connection.path;
    connection.asked = 0;
    // What becomes of the device of the path that was left is this connection's matter no more.
    DropQueuePair(connection);
    connection.device = nullptr;
    why = BeginRequest(connection);
    if (why.ok()) break;
  }
  return why;
}

// An id serves for one request: each piece of the hello takes a new one.
absl::Status VerbsTransport::BeginRequest(VerbsConnection& connection) {
  if (connection.cm_id != nullptr) calls().DestroyId(std::exchange(connection.cm_id, nullptr));
  connection.state = State::kResolving;
  connection.ask_again_ns = 0;
  MCP_ASSIGN_OR_RETURN(connection.cm_id, calls().CreateId(channel_, &connection));
  VerbsPath path = connection.paths[connection.path];
  connection.remote_address = FormatVerbsAddress(path.target.raw());
  if (!path.source.has_value() && network_->config().gid_index >= 0) {
    return absl::UnavailableError(absl::StrCat("verbs: connect to ", connection.remote_address, ": no GID of index ",
                                               network_->config().gid_index,
                                               " stands for an address to reach it from"));
  }
  return calls().ResolveAddress(connection.cm_id, path.source.has_value() ? path.source->raw() : nullptr,
                                path.target.raw(), RemainingMs(connection));
}

absl::Status VerbsTransport::OnAddressResolved(VerbsConnection& connection) {
  VerbsDevice* device = network_->DeviceOf(connection.cm_id);
  if (device == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("verbs: the route to ", connection.remote_address,
                     " is by a device that is not used: ", absl::StrJoin(network_->passed_over(), "; ")));
  }
  if (connection.device != device) DropQueuePair(connection);
  connection.device = device;
  connection.local_address = FormatVerbsAddress(rdma_get_local_addr(connection.cm_id));
  return calls().ResolveRoute(connection.cm_id, RemainingMs(connection));
}

absl::Status VerbsTransport::OnRouteResolved(VerbsConnection& connection) {
  if (connection.qp == nullptr) MCP_RETURN_IF_ERROR(MakeQueuePair(connection));
  const absl::Span<const std::byte> hello = connection.hello;
  ConnectData data;
  data.path_mtu = static_cast<uint8_t>(connection.device->port_attributes.active_mtu);
  data.credits = network_->config().credits;
  data.device = connection.device->index;
  data.nonce = connection.nonce;
  data.hello_bytes = static_cast<uint16_t>(hello.size());
  data.offset = connection.hello_offset;
  data.piece = hello.subspan(data.offset, kHelloPieceMax);
  if (data.offset + data.piece.size() == hello.size()) {
    // Never asked for twice by us: the peer may have taken us in, and its answer be lost.
    MCP_RETURN_IF_ERROR(calls().PrepareQueuePair(connection.cm_id, connection.qp));
  } else {
    const int64_t pause_ns = kAskAgainNs << std::min(connection.asked++, kAskAgainDoublings);
    // Many may have lost their requests at once. The nonce is as good as any random number.
    connection.ask_again_ns = clock_->NowNs() + pause_ns + static_cast<int64_t>(connection.nonce % (pause_ns / 4));
  }
  const std::array<std::byte, kConnectDataMax> bytes = EncodeConnect(data);
  const QueuePairSettings settings = SettingsFor(connection, connection.device->port_attributes.active_mtu);
  rdma_conn_param parameters = {};
  parameters.private_data = bytes.data();
  parameters.private_data_len = static_cast<uint8_t>(bytes.size());
  parameters.responder_resources = settings.reads_max;
  parameters.initiator_depth = settings.reads_max;
  parameters.flow_control = 1;
  parameters.retry_count = settings.retry_count;
  parameters.rnr_retry_count = settings.rnr_retry_count;
  parameters.srq = 1;
  parameters.qp_num = connection.qp->qp_num;
  connection.state = State::kAsking;
  return calls().Connect(connection.cm_id, &parameters);
}

absl::Status VerbsTransport::OnResponse(VerbsConnection& connection, const ConnectionEvent& event) {
  MCP_ASSIGN_OR_RETURN(const AcceptData data, DecodeAccept(event.private_data()));
  if (data.nonce != connection.nonce) {
    return absl::UnavailableError(
        absl::StrCat("verbs: ", connection.remote_address, " answers a request that is not this one"));
  }
  connection.remote_device = data.device;
  connection.credits = std::min<uint32_t>(data.credits, network_->config().credits);
  // Not of later rails: what they found would put the path of another, perhaps the one that has failed, first again.
  if (connection.first_rail && connection.paths[connection.path].target.SameHost(connection.peer)) {
    network_->peers().Learn(FormatVerbsAddress(connection.peer.raw()),
                            {CopyVerbsAddress(rdma_get_local_addr(connection.cm_id)), data.others});
  }
  const ibv_mtu path_mtu_max =
      std::min(static_cast<ibv_mtu>(data.path_mtu), connection.device->port_attributes.active_mtu);
  MCP_ASSIGN_OR_RETURN(const SettledPath settled,
                       calls().ReadyQueuePair(connection.cm_id, connection.qp, SettingsFor(connection, path_mtu_max)));
  connection.path_mtu = settled.path_mtu;
  connection.gid_index = settled.gid_index;
  MCP_RETURN_IF_ERROR(CheckGid(connection, network_->config().gid_index));
  connection.receives = true;
  connection.state = State::kWelcoming;
  return calls().Establish(connection.cm_id);
}

absl::Status VerbsTransport::OnRejected(VerbsConnection& connection, const ConnectionEvent& event) {
  if (connection.state == State::kAccepting) {
    return absl::UnavailableError(
        absl::StrCat("verbs: ", connection.remote_address, " gave up before it was connected, reason ", event.status));
  }
  const absl::StatusOr<RejectData> data = DecodeReject(event.private_data());
  const bool is_peer = connection.paths[connection.path].target.SameHost(connection.peer);
  if (event.status == kRejectedByConsumer && data.ok() && data->nonce == connection.nonce) {
    const size_t next = size_t{connection.hello_offset} + kHelloPieceMax;
    if (data->next_piece && data->offset == next && next < connection.hello.size()) {
      connection.hello_offset = data->offset;
      connection.asked = 0;
      return BeginRequest(connection);
    }
    // Private networks repeat: whoever has an address that the peer calls its own need not be the peer. Who refuses
    // holds nothing of ours, so that this path can still be left.
    if (!is_peer) {
      connection.hello_offset = 0;
      connection.nonce = network_->NewNonce();
      // Its reason is not repeated: it is not the peer that gives it.
      return absl::UnavailableError(
          absl::StrCat("verbs: connect to ", connection.remote_address, ": refused, perhaps not by the peer"));
    }
    return absl::UnavailableError(
        absl::StrCat("verbs: connect to ", connection.remote_address, ": refused: ", data->reason));
  }
  if (event.status == kRejectedNobodyListens) {
    absl::Status nobody =
        absl::UnavailableError(absl::StrCat("verbs: connect to ", connection.remote_address, ": nobody listens there"));
    return is_peer ? NobodyListens(std::move(nobody)) : nobody;
  }
  return absl::UnavailableError(
      absl::StrCat("verbs: connect to ", connection.remote_address, ": rejected, reason ", event.status));
}

void VerbsTransport::OnWelcome(VerbsConnection& connection, const std::byte* bytes, uint32_t count, uint64_t buffer) {
  delivered_.push_back({connection.queues, buffer, connection.id, connection.generation, false});
  if (connection.state != State::kWelcoming) {
    return BeginClose(connection, absl::InternalError("verbs: the peer broke the protocol: a second welcome"), true);
  }
  connection.state = State::kOpen;
  --handshakes_;
  connection.credit = connection.credits;
  connection.hello = {};
  BindLostWindows(connection);
  Event* event = NextEvent(Event::Kind::kConnected, connection);
  event->data = bytes;
  event->data_bytes = count;
}

}  // namespace mcp::internal
