// The accepting side's handshake, hardened: whoever connects costs one small object for a bounded time, and nothing is
// believed before its magic, version and lengths have been checked.
#include "transports/tcp/accept.h"

#include <poll.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "transports/tcp/device.h"
#include "transports/tcp/socket_options.h"

namespace mcp::internal {
namespace {

constexpr int kAcceptsPerRound = 64;
constexpr int64_t kRestNs = 100'000'000;  // of a listener that ran out of descriptors
constexpr size_t kListenersMax = 64;

// A ring takes its sockets apart some time after its process has ended, and a listener in it would keep the port from
// the next process. A member of an epoll set goes with its last descriptor.
absl::StatusOr<Descriptor> Watch(int fd) {
  Descriptor watch(epoll_create1(EPOLL_CLOEXEC));
  if (!watch.valid()) return ErrnoStatus(errno, "tcp: epoll_create1");
  epoll_event event = {.events = EPOLLIN, .data = {}};
  if (epoll_ctl(watch.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus(errno, "tcp: epoll_ctl");
  return watch;
}

}  // namespace

TcpPending::TcpPending(std::shared_ptr<TcpNetworkImpl> network, std::string listener_address, Candidate* control,
                       Candidate* data)
    : counts_{PendingCount(network), PendingCount(network)},
      control_(std::move(control->fd)),
      data_(std::move(data->fd)),
      listener_address_(std::move(listener_address)),
      hello_(reinterpret_cast<const char*>(control->input + kTcpPrefaceBytes), control->preface.hello_bytes),
      remote_(control->remote) {
  const uint64_t tag = network->HostTag(control->preface.token);
  same_host_ = IsLoopback(remote_) || (tag != 0 && tag == control->preface.host_tag);
}

absl::Status TcpPending::Reply(absl::Span<const std::byte> reply_hello) {
  std::byte bytes[kTcpReplyBytes + kTcpHelloBytesMax];
  EncodeTcpReply({.accepted = true, .same_host = same_host_, .body_bytes = static_cast<uint32_t>(reply_hello.size())},
                 bytes);
  if (!reply_hello.empty()) std::memcpy(bytes + kTcpReplyBytes, reply_hello.data(), reply_hello.size());
  const size_t size = kTcpReplyBytes + reply_hello.size();
  const ssize_t sent = send(control_.get(), bytes, size, MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(size)) return absl::OkStatus();
  return ErrnoStatus(sent < 0 ? errno : EMSGSIZE, absl::StrCat("tcp: reply to ", remote_address()));
}

void TcpPending::Refuse(absl::string_view reason) {
  if (!control_.valid()) return;
  reason = reason.substr(0, kTcpReasonBytesMax);
  std::byte bytes[kTcpReplyBytes + kTcpReasonBytesMax];
  EncodeTcpReply({.accepted = false, .same_host = same_host_, .body_bytes = static_cast<uint32_t>(reason.size())},
                 bytes);
  if (!reason.empty()) std::memcpy(bytes + kTcpReplyBytes, reason.data(), reason.size());
  [[maybe_unused]] const ssize_t sent = send(control_.get(), bytes, kTcpReplyBytes + reason.size(), MSG_NOSIGNAL);
  control_.Reset();
  data_.Reset();
}

absl::StatusOr<std::string> TcpTransport::Listen(absl::string_view address) {
  MCP_ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses, ResolveAddress(address));
  if (listeners_.size() == kListenersMax) {
    return absl::ResourceExhaustedError(absl::StrCat("tcp: lane ", lane_, " has its ", kListenersMax, " listeners"));
  }
  auto listener = std::make_unique<TcpListener>();
  MCP_ASSIGN_OR_RETURN(listener->fd, MakeListener(addresses.front(), network_->early_congestion_control()));
  MCP_ASSIGN_OR_RETURN(const SocketAddress bound, LocalAddress(listener->fd.get()));
  listener->bound_address = FormatAddress(bound);
  MCP_ASSIGN_OR_RETURN(listener->watch, Watch(listener->fd.get()));
  uint32_t index = 0;
  while (index < listeners_.size() && listeners_[index] != nullptr) ++index;
  MCP_ASSIGN_OR_RETURN(listener->id, AddSocket(listener->watch.get(), {SocketOwner::Kind::kListener, index}));
  listener->awaiting = true;
  reactor_->AwaitReady(listener->id, POLLIN);
  std::string bound_address = listener->bound_address;
  if (index == listeners_.size()) listeners_.emplace_back();
  listeners_[index] = std::move(listener);
  return bound_address;
}

void TcpTransport::StopListening(absl::string_view bound_address) {
  for (uint32_t index = 0; index < listeners_.size(); ++index) {
    TcpListener* listener = listeners_[index].get();
    if (listener == nullptr || listener->closing || listener->bound_address != bound_address) continue;
    listener->closing = true;
    if (listener->resume_ns != 0) --resting_listeners_;
    listener->fd.Reset();  // refuses newcomers from now on, and its port is free
    if (listener->awaiting) reactor_->Cancel(listener->id, IoOperation::kReady);
    for (uint32_t i = 0; i < candidates_.size(); ++i) {
      if (candidates_[i] != nullptr && candidates_[i]->listener == index) DropCandidate(i);
    }
    if (!listener->awaiting) FinishListener(index);
    return;
  }
}

void TcpTransport::FinishListener(uint32_t index) {
  RemoveSocket(listeners_[index]->id);
  listeners_[index].reset();
}

void TcpTransport::AcceptWaiting(uint32_t listener_index) {
  TcpListener& listener = *listeners_[listener_index];
  if (listener.closing) return FinishListener(listener_index);
  for (int i = 0; i < kAcceptsPerRound; ++i) {
    Descriptor socket(accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      AddCandidate(std::move(socket), listener_index);
      continue;
    }
    if (errno == EAGAIN) break;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      network_->logger().LogOnce(LogLevel::kWarning, "tcp: accept on ", listener.bound_address, ": ", ErrnoText(errno),
                                 " (see ulimit -n); trying again every ", kRestNs / 1'000'000, " ms");
      listener.resume_ns = clock_->NowNs() + kRestNs;
      ++resting_listeners_;
      next_check_ns_ = 0;
      return;
    }
    // Errors of the one connection (ECONNABORTED and the network's): the next one may be well.
  }
  listener.awaiting = true;
  reactor_->AwaitReady(listener.id, POLLIN);
}

void TcpTransport::AddCandidate(Descriptor socket, uint32_t listener_index) {
  const TcpConfig& config = network_->config();
  if (network_->pending_sockets().load(std::memory_order_relaxed) >= config.pending_sockets_max) {
    network_->logger().LogOnce(LogLevel::kWarning, "tcp: ", config.pending_sockets_max,
                               " sockets wait for their handshake; newcomers are closed until some are done");
    return;
  }
  absl::StatusOr<SocketAddress> remote = RemoteAddress(socket.get());
  if (!remote.ok()) return;  // gone already
  if (free_candidates_.empty()) {
    free_candidates_.push_back(static_cast<uint32_t>(candidates_.size()));
    candidates_.emplace_back();
  }
  const uint32_t index = free_candidates_.back();
  absl::StatusOr<SocketId> id = AddSocket(socket.get(), {SocketOwner::Kind::kCandidate, index});
  if (!id.ok()) {
    network_->logger().LogOnce(LogLevel::kWarning, id.status().message());
    return;
  }
  free_candidates_.pop_back();
  candidates_[index] = std::make_unique<Candidate>(network_);
  Candidate& candidate = *candidates_[index];
  SetNoDelay(socket.get());
  candidate.fd = std::move(socket);
  candidate.id = *id;
  candidate.listener = listener_index;
  candidate.remote = *remote;
  candidate.deadline_ns = clock_->NowNs() + config.handshake_timeout_ns;
  candidate.awaiting = true;
  ++live_candidates_;
  reactor_->AwaitReady(candidate.id, POLLIN);
}

// Reads what the preface still lacks, and never beyond it.
void TcpTransport::ContinueCandidate(uint32_t index) {
  Candidate& candidate = *candidates_[index];
  for (;;) {
    const size_t wanted = kTcpPrefaceBytes + (candidate.preface_whole ? candidate.preface.hello_bytes : 0);
    if (candidate.bytes == wanted && candidate.preface_whole) return PairCandidate(index);
    const ssize_t bytes = recv(candidate.fd.get(), candidate.input + candidate.bytes, wanted - candidate.bytes, 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) {
      candidate.awaiting = true;
      reactor_->AwaitReady(candidate.id, POLLIN);
      return;
    }
    if (bytes <= 0) return DropCandidate(index);
    candidate.bytes += static_cast<size_t>(bytes);
    if (candidate.preface_whole || candidate.bytes < kTcpPrefaceBytes) continue;
    const absl::StatusOr<TcpPreface> preface = ParseTcpPreface(candidate.input);
    if (!preface.ok()) {
      network_->logger().LogOnce(LogLevel::kWarning,
                                 "tcp: closed a stranger's connection: ", preface.status().message());
      return DropCandidate(index);
    }
    candidate.preface = *preface;
    candidate.preface_whole = true;
  }
}

void TcpTransport::PairCandidate(uint32_t index) {
  Candidate& candidate = *candidates_[index];
  const auto [found, first] = waiting_candidates_.try_emplace(candidate.preface.token, index);
  if (first) {
    candidate.paired_waiting = true;
    return;
  }
  const uint32_t sibling_index = found->second;
  Candidate& sibling = *candidates_[sibling_index];
  if (sibling.preface.role == candidate.preface.role || !SameHostAddress(sibling.remote, candidate.remote)) {
    network_->logger().LogOnce(LogLevel::kWarning, "tcp: closed a connection from ", FormatAddress(candidate.remote),
                               ": its token is another's");
    return DropCandidate(index);
  }
  const bool control = candidate.preface.role == TcpRole::kControl;
  Candidate* const control_candidate = control ? &candidate : &sibling;
  Candidate* const data_candidate = control ? &sibling : &candidate;
  RemoveSocket(candidate.id);
  RemoveSocket(sibling.id);
  handshakes_.emplace_back();
  handshakes_.back().kind = Event::Kind::kIncoming;
  handshakes_.back().pending =
      new TcpPending(network_, listeners_[candidate.listener]->bound_address, control_candidate, data_candidate);
  waiting_candidates_.erase(found);
  for (const uint32_t done : {index, sibling_index}) {
    candidates_[done].reset();
    free_candidates_.push_back(done);
    --live_candidates_;
  }
}

void TcpTransport::DropCandidate(uint32_t index) {
  Candidate& candidate = *candidates_[index];
  if (candidate.paired_waiting) waiting_candidates_.erase(candidate.preface.token);
  candidate.paired_waiting = false;
  if (candidate.awaiting) {
    candidate.dropping = true;
    reactor_->Cancel(candidate.id, IoOperation::kReady);
    return;
  }
  RemoveSocket(candidate.id);
  candidates_[index].reset();
  free_candidates_.push_back(index);
  --live_candidates_;
}

absl::StatusOr<ConnectionId> TcpTransport::Accept(std::unique_ptr<PendingConnection> pending,
                                                  absl::Span<const std::byte> reply_hello, void* context) {
  auto* const peer = dynamic_cast<TcpPending*>(pending.get());
  if (peer == nullptr) return absl::InvalidArgumentError("tcp: the pending connection is of another transport");
  if (reply_hello.size() > kHelloBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("tcp: reply hello of ", reply_hello.size(), " bytes, at most ", kHelloBytesMax));
  }
  MCP_ASSIGN_OR_RETURN(Connection * connection, NewConnection(context));
  absl::Status status = peer->Reply(reply_hello);
  if (!status.ok()) {
    free_connections_.push_back(connection->id);
    return status;
  }
  connection->control.fd = peer->TakeControl();
  connection->data.fd = peer->TakeData();
  absl::StatusOr<SocketAddress> local = LocalAddress(connection->control.fd.get());
  absl::StatusOr<SocketAddress> remote = RemoteAddress(connection->control.fd.get());
  if (local.ok()) connection->local = *local;
  if (remote.ok()) connection->remote = *remote;
  status = Open(*connection, peer->same_host());
  if (!status.ok()) {
    ReleaseResources(*connection);
    connection->state = Connection::State::kFree;
    free_connections_.push_back(connection->id);
    return status;
  }
  return connection->id;
}

}  // namespace mcp::internal
