// The connecting side's handshake: both sockets connect at once, each says its preface, and the reply on control makes
// the connection. Addresses of a name are tried in turn. Nothing here is in a hurry: plain system calls on readiness.
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "transports/tcp/device.h"
#include "transports/tcp/socket_options.h"

namespace mcp::internal {

absl::StatusOr<ConnectionId> TcpTransport::Connect(absl::string_view address, uint32_t /*path*/,
                                                   absl::Span<const std::byte> hello, void* context,
                                                   int64_t deadline_ns) {
  if (hello.size() > kHelloBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("tcp: hello of ", hello.size(), " bytes, at most ", kHelloBytesMax));
  }
  MCP_ASSIGN_OR_RETURN(std::vector<SocketAddress> addresses, ResolveAddress(address));
  MCP_ASSIGN_OR_RETURN(Connection * connection, NewConnection(context));
  connection->state = Connection::State::kConnecting;
  connection->connecting = std::make_unique<Connecting>();
  connection->connecting->addresses = std::move(addresses);
  connection->connecting->deadline_ns = deadline_ns;
  connection->connecting->hello.assign(reinterpret_cast<const char*>(hello.data()), hello.size());
  ++connecting_;
  next_check_ns_ = 0;
  const absl::Status status = BeginAttempt(*connection);
  if (!status.ok()) FailAttempt(*connection, status);
  return connection->id;
}

absl::Status TcpTransport::BeginAttempt(Connection& connection) {
  Connecting& connecting = *connection.connecting;
  connecting.retry = false;
  connecting.token = network_->RandomToken();
  connecting.reply.assign(kTcpReplyBytes, std::byte{0});
  connecting.reply_bytes = 0;
  connection.remote = connecting.addresses[connecting.address];
  MCP_RETURN_IF_ERROR(BeginSocket(connection, connection.control, SocketOwner::Kind::kControl));
  return BeginSocket(connection, connection.data, SocketOwner::Kind::kData);
}

absl::Status TcpTransport::BeginSocket(Connection& connection, ConnectionSocket& socket, SocketOwner::Kind kind) {
  socket.ready = false;
  MCP_ASSIGN_OR_RETURN(socket.fd, MakeSocket(connection.remote.family(), network_->early_congestion_control()));
  // The acceptor pairs what comes from one address. Control's was chosen with its route; data's must not be another,
  // where routes of equal cost begin at different ones.
  if (kind == SocketOwner::Kind::kData) {
    MCP_ASSIGN_OR_RETURN(const SocketAddress source, LocalAddress(connection.control.fd.get()));
    MCP_RETURN_IF_ERROR(BindSource(socket.fd.get(), source));
  }
  if (::connect(socket.fd.get(), connection.remote.raw(), connection.remote.length) != 0 && errno != EINPROGRESS) {
    return ErrnoStatus(errno, absl::StrCat("tcp: connect ", FormatAddress(connection.remote)));
  }
  MCP_ASSIGN_OR_RETURN(socket.id, AddSocket(socket.fd.get(), {kind, connection.id}));
  socket.added = true;
  socket.awaiting = true;
  reactor_->AwaitReady(socket.id, POLLOUT);
  return absl::OkStatus();
}

void TcpTransport::ContinueConnect(Connection& connection, ConnectionSocket& socket, int32_t result) {
  if (connection.connecting->retry) return NextAttemptWhenIdle(connection);
  absl::Status status;
  if (result < 0) {
    status = ErrnoStatus(-result, "tcp: wait for the connection");
  } else if (!socket.ready) {
    status = FinishSocket(connection, socket);
  } else {
    status = ContinueReply(connection);
  }
  if (!status.ok()) FailAttempt(connection, status);
}

// The socket is connected, or not.
absl::Status TcpTransport::FinishSocket(Connection& connection, ConnectionSocket& socket) {
  const std::string peer = FormatAddress(connection.remote);
  const int error = TakeSocketError(socket.fd.get());
  if (error != 0) {
    absl::Status failed = ErrnoStatus(error, absl::StrCat("tcp: connect ", peer));
    return error == ECONNREFUSED ? NobodyListens(std::move(failed)) : failed;
  }
  MCP_ASSIGN_OR_RETURN(const SocketAddress local, LocalAddress(socket.fd.get()));
  // A local port that nobody listens on can be met by the connecting socket itself.
  if (SameHostAddress(local, connection.remote) && SamePort(local, connection.remote)) {
    return NobodyListens(absl::UnavailableError(absl::StrCat("tcp: connect ", peer, ": nobody listens there")));
  }
  const bool control = &socket == &connection.control;
  const Connecting& connecting = *connection.connecting;
  TcpPreface preface;
  preface.role = control ? TcpRole::kControl : TcpRole::kData;
  preface.hello_bytes = control ? static_cast<uint32_t>(connecting.hello.size()) : 0;
  preface.token = connecting.token;
  preface.host_tag = network_->HostTag(connecting.token);
  std::byte bytes[kTcpPrefaceBytes + kTcpHelloBytesMax];
  EncodeTcpPreface(preface, bytes);
  size_t size = kTcpPrefaceBytes;
  if (control) {
    if (!connecting.hello.empty()) std::memcpy(bytes + size, connecting.hello.data(), connecting.hello.size());
    size += connecting.hello.size();
    connection.local = local;
  }
  // A fresh socket's buffer takes it all.
  const ssize_t sent = send(socket.fd.get(), bytes, size, MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(size)) {
    return ErrnoStatus(sent < 0 ? errno : EMSGSIZE, absl::StrCat("tcp: send the preface to ", peer));
  }
  socket.ready = true;
  if (control) {
    socket.awaiting = true;
    reactor_->AwaitReady(socket.id, POLLIN);
  }
  return absl::OkStatus();
}

absl::Status TcpTransport::ContinueReply(Connection& connection) {
  Connecting& connecting = *connection.connecting;
  const std::string peer = FormatAddress(connection.remote);
  TcpReply reply;
  for (;;) {
    // Never beyond the reply: frames may follow it.
    const ssize_t bytes = recv(connection.control.fd.get(), connecting.reply.data() + connecting.reply_bytes,
                               connecting.reply.size() - connecting.reply_bytes, 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) {
      connection.control.awaiting = true;
      reactor_->AwaitReady(connection.control.id, POLLIN);
      return absl::OkStatus();
    }
    if (bytes < 0) return ErrnoStatus(errno, absl::StrCat("tcp: handshake with ", peer));
    if (bytes == 0) {
      return absl::UnavailableError(absl::StrCat("tcp: ", peer, " closed the connection during the handshake"));
    }
    connecting.reply_bytes += static_cast<size_t>(bytes);
    if (connecting.reply_bytes < connecting.reply.size()) continue;
    MCP_ASSIGN_OR_RETURN(reply, ParseTcpReply(connecting.reply.data()));
    if (connecting.reply.size() == kTcpReplyBytes + reply.body_bytes) break;
    connecting.reply.resize(kTcpReplyBytes + reply.body_bytes);
  }
  const absl::Span<const std::byte> body(connecting.reply.data() + kTcpReplyBytes, reply.body_bytes);
  if (!reply.accepted) {
    // Another address of the same name would say the same.
    connecting.address = connecting.addresses.size() - 1;
    return absl::UnavailableError(absl::StrCat("tcp: ", peer, " refused: ", PrintablePeerText(body)));
  }
  if (!connection.data.ready) return absl::InternalError("tcp: accepted before both sockets were connected");
  MCP_RETURN_IF_ERROR(Open(connection, reply.same_host));
  --connecting_;
  handshakes_.emplace_back();
  handshakes_.back().kind = Event::Kind::kConnected;
  handshakes_.back().connection = connection.id;
  return absl::OkStatus();
}

// Gives up on this address; what is under way on its sockets must end before they are closed.
void TcpTransport::FailAttempt(Connection& connection, const absl::Status& status) {
  Connecting& connecting = *connection.connecting;
  connecting.last_error = status;
  connecting.retry = true;
  for (ConnectionSocket* socket : {&connection.control, &connection.data}) {
    if (socket->awaiting) reactor_->Cancel(socket->id, IoOperation::kReady);
  }
  NextAttemptWhenIdle(connection);
}

void TcpTransport::NextAttemptWhenIdle(Connection& connection) {
  if (!connection.control.idle() || !connection.data.idle()) return;
  for (ConnectionSocket* socket : {&connection.control, &connection.data}) {
    if (socket->added) RemoveSocket(socket->id);
    *socket = ConnectionSocket();
  }
  Connecting& connecting = *connection.connecting;
  if (++connecting.address >= connecting.addresses.size()) {
    return BeginClose(connection, std::exchange(connecting.last_error, absl::OkStatus()));
  }
  const absl::Status status = BeginAttempt(connection);
  if (!status.ok()) FailAttempt(connection, status);
}

// Both handshakes end here: frames may flow.
absl::Status TcpTransport::Open(Connection& connection, bool same_host) {
  connection.state = Connection::State::kOpen;
  connection.same_host = same_host;
  if (!connection.control.added) {
    MCP_ASSIGN_OR_RETURN(connection.control.id,
                         AddSocket(connection.control.fd.get(), {SocketOwner::Kind::kControl, connection.id}));
    connection.control.added = true;
  }
  if (!connection.data.added) {
    MCP_ASSIGN_OR_RETURN(connection.data.id,
                         AddSocket(connection.data.fd.get(), {SocketOwner::Kind::kData, connection.id}));
    connection.data.added = true;
  }
  network_->SettleCongestionControl(connection.control.fd.get(), same_host);
  connection.notes.push_back(network_->SettleCongestionControl(connection.data.fd.get(), same_host));
  ChooseSendMode(connection);
  connection.control.receiving = true;
  reactor_->StartStream(connection.control.id);
  return absl::OkStatus();
}

void TcpTransport::ChooseSendMode(Connection& connection) {
  const TcpConfig::ZeroCopy zero_copy = network_->config().zero_copy;
  if (zero_copy == TcpConfig::ZeroCopy::kOff) {
    connection.notes.push_back("payload is copied by the kernel: by option");
  } else if (zero_copy == TcpConfig::ZeroCopy::kOn || connection.same_host) {
    connection.send_mode = SendMode::kPageReferences;
    connection.notes.push_back(connection.same_host
                                   ? "payload of writes leaves by page reference: both ends are on one host"
                                   : "payload of writes leaves by page reference: by option");
  } else if (network_->uses_io_uring()) {
    connection.send_mode = SendMode::kZeroCopy;
    connection.notes.push_back("payload of writes leaves by SEND_ZC, until the kernel reports that it copied");
  } else {
    connection.notes.push_back("payload is copied by the kernel: epoll has no zero-copy send to another host");
  }
}

}  // namespace mcp::internal
