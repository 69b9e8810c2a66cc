// Rounds: what was posted goes out, what has completed is handled, and what can be delivered becomes events.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "transports/tcp/device.h"

namespace mcp::internal {
namespace {

// How often handshakes' deadlines are looked at.
constexpr int64_t kCheckIntervalNs = 1'000'000;

}  // namespace

size_t TcpTransport::Poll(absl::Span<Event> events) {
  events_ = events;
  events_given_ = 0;
  ReleaseDelivered();
  FlushDirty();
  const size_t count = reactor_->Run(absl::MakeSpan(results_));
  for (size_t i = 0; i < count; ++i) HandleResult(results_[i]);
  if (regions_->invalidations() != invalidations_seen_) WithdrawPins();
  if (connecting_ + live_candidates_ + resting_listeners_ > 0) CheckDeadlines();
  if (!handshakes_.empty()) DeliverHandshakes();
  if (!sent_.empty()) DeliverSent();
  if (!ready_.empty()) DeliverReady();
  if (!closed_.empty()) DeliverClosed();
  return events_given_;
}

void TcpTransport::Wait(int64_t deadline_ns) {
  FlushDirty();
  if (!dirty_.empty() || !ready_.empty() || !sent_.empty() || !handshakes_.empty() || !closed_.empty()) return;
  if (connecting_ + live_candidates_ + resting_listeners_ > 0) {
    deadline_ns = std::min(deadline_ns, clock_->NowNs() + kCheckIntervalNs * 10);
  }
  const int64_t timeout_ns = deadline_ns - clock_->NowNs();
  // The kernel may need the buffers of a round without events to have something to wake us for.
  if (events_given_ == 0) ReleaseDelivered();
  reactor_->Wait(std::max<int64_t>(timeout_ns, 0));
}

Event* TcpTransport::NextEvent(Event::Kind kind, const Connection& connection) {
  if (events_given_ == events_.size()) return nullptr;
  Event* event = &events_[events_given_++];
  event->kind = kind;
  event->write = Event::Write::kNone;
  event->connection = connection.id;
  event->context = connection.context;
  event->data = nullptr;
  event->data_bytes = 0;
  event->pending = nullptr;
  if (ABSL_PREDICT_FALSE(!event->status.ok())) event->status = absl::OkStatus();
  return event;
}

// What the events of the last round pointed into.
void TcpTransport::ReleaseDelivered() {
  for (const uint16_t buffer : delivered_buffers_) reactor_->ReturnBuffer(buffer);
  delivered_buffers_.clear();
  if (delivered_blocks_ != nullptr) blocks_.ReleaseChain(std::exchange(delivered_blocks_, nullptr));
  delivered_hellos_.clear();
}

void TcpTransport::HandleResult(const OperationResult& result) {
  const SocketOwner owner = owners_[result.socket];
  switch (owner.kind) {
    case SocketOwner::Kind::kControl:
      return HandleConnectionResult(*connections_[owner.index], true, result);
    case SocketOwner::Kind::kData:
      return HandleConnectionResult(*connections_[owner.index], false, result);
    case SocketOwner::Kind::kListener:
      listeners_[owner.index]->awaiting = false;
      return AcceptWaiting(owner.index);
    case SocketOwner::Kind::kCandidate:
      candidates_[owner.index]->awaiting = false;
      return candidates_[owner.index]->dropping ? DropCandidate(owner.index) : ContinueCandidate(owner.index);
    case SocketOwner::Kind::kNone:
      return;
  }
}

void TcpTransport::HandleConnectionResult(Connection& connection, bool control, const OperationResult& result) {
  switch (result.operation) {
    case IoOperation::kReceive:
      return control ? HandleControlReceived(connection, result) : HandlePayload(connection, result);
    case IoOperation::kSend:
      return control ? HandleControlSent(connection, result) : HandleDataSent(connection, result);
    case IoOperation::kReleased:
      return HandleReleased(connection, result);
    case IoOperation::kReady: {
      ConnectionSocket& socket = control ? connection.control : connection.data;
      socket.awaiting = false;
      if (connection.state == Connection::State::kConnecting) return ContinueConnect(connection, socket, result.result);
      if (connection.state != Connection::State::kOpen) return FinishCloseWhenIdle(connection);
      return FlushData(connection);
    }
  }
}

void TcpTransport::MarkReady(Connection& connection) {
  if (connection.ready) return;
  connection.ready = true;
  ready_.push_back(connection.id);
}

void TcpTransport::DeliverReady() {
  delivering_.swap(ready_);
  Connection* unfinished = nullptr;
  for (const ConnectionId id : delivering_) {
    Connection& connection = *connections_[id];
    if (!connection.ready) continue;
    connection.ready = false;
    if (connection.state != Connection::State::kOpen) continue;
    if (unfinished != nullptr) {
      MarkReady(connection);
    } else if (!Deliver(connection)) {
      unfinished = &connection;
    }
  }
  // The events are full: who filled them comes last in the next round.
  if (unfinished != nullptr) MarkReady(*unfinished);
  delivering_.clear();
}

void TcpTransport::DeliverSent() {
  while (sent_given_ < sent_.size()) {
    const Sent& sent = sent_[sent_given_];
    Event* event = NextEvent(Event::Kind::kSent, *connections_[sent.connection]);
    if (event == nullptr) return;
    event->work_id = sent.work_id;
    ++sent_given_;
  }
  sent_.clear();
  sent_given_ = 0;
}

void TcpTransport::DeliverHandshakes() {
  size_t given = 0;
  for (; given < handshakes_.size() && events_given_ < events_.size(); ++given) {
    const Event& handshake = handshakes_[given];
    if (handshake.kind == Event::Kind::kIncoming) {
      Event* event = NextEvent(handshake.kind, Connection());
      event->pending = handshake.pending;
      continue;
    }
    Connection& connection = *connections_[handshake.connection];
    if (connection.connecting == nullptr || connection.state != Connection::State::kOpen) continue;  // closed meanwhile
    Event* event = NextEvent(handshake.kind, connection);
    event->data = connection.connecting->reply.data() + kTcpReplyBytes;
    event->data_bytes = static_cast<uint32_t>(connection.connecting->reply.size() - kTcpReplyBytes);
    delivered_hellos_.push_back(std::move(connection.connecting));
    // Frames may have come before the session knew the connection.
    MarkReady(connection);
  }
  handshakes_.erase(handshakes_.begin(), handshakes_.begin() + static_cast<ptrdiff_t>(given));
}

void TcpTransport::DeliverClosed() {
  // Work of theirs may still have to be reported.
  if (!sent_.empty()) return;
  size_t given = 0;
  for (; given < closed_.size(); ++given) {
    Connection& connection = *connections_[closed_[given]];
    Event* event = NextEvent(Event::Kind::kClosed, connection);
    if (event == nullptr) break;
    event->status = std::move(connection.end);
    connection.state = Connection::State::kFree;
    free_connections_.push_back(connection.id);
  }
  closed_.erase(closed_.begin(), closed_.begin() + static_cast<ptrdiff_t>(given));
}

void TcpTransport::CheckDeadlines() {
  const int64_t now_ns = clock_->NowNs();
  if (now_ns < next_check_ns_) return;
  next_check_ns_ = now_ns + kCheckIntervalNs;
  for (uint32_t i = 0; live_candidates_ > 0 && i < candidates_.size(); ++i) {
    Candidate* candidate = candidates_[i].get();
    if (candidate == nullptr || candidate->dropping || now_ns < candidate->deadline_ns) continue;
    network_->logger().LogOnce(LogLevel::kInfo, "tcp: a peer did not finish its handshake in time");
    DropCandidate(i);
  }
  for (uint32_t i = 0; resting_listeners_ > 0 && i < listeners_.size(); ++i) {
    TcpListener* listener = listeners_[i].get();
    if (listener == nullptr || listener->closing || listener->resume_ns == 0 || now_ns < listener->resume_ns) continue;
    listener->resume_ns = 0;
    --resting_listeners_;
    AcceptWaiting(i);
  }
  for (uint32_t i = 0; connecting_ > 0 && i < connections_.size(); ++i) {
    Connection& connection = *connections_[i];
    if (connection.state != Connection::State::kConnecting || now_ns < connection.connecting->deadline_ns) continue;
    const std::string last = connection.connecting->last_error.ok()
                                 ? ""
                                 : absl::StrCat(" (before that: ", connection.connecting->last_error.message(), ")");
    BeginClose(connection, absl::DeadlineExceededError(absl::StrCat("tcp: connect ", FormatAddress(connection.remote),
                                                                    ": no answer in time", last)));
  }
}

}  // namespace mcp::internal
