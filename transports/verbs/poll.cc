// Rounds, and waiting for something to do.
#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/base/units.h"
#include "transports/verbs/device.h"

namespace mcp::internal {
namespace {

// The connection manager's descriptor and the devices' are looked at by a system call: after so many rounds, and so
// long, since the last look.
constexpr uint32_t kRoundsPerLook = 8;
constexpr int64_t kLookEveryNs = 500'000;
constexpr int64_t kLookForPiecesEveryNs = 5'000;
constexpr int kCompletionsPerLook = 16;

}  // namespace

// Field by field: the status is seldom one to be let go of.
Event* VerbsTransport::NextEvent(Event::Kind kind, ConnectionId connection, void* context) {
  Event* event = &events_[given_++];
  event->kind = kind;
  event->write = Event::Write::kNone;
  event->connection = connection;
  event->context = context;
  event->data = nullptr;
  event->data_bytes = 0;
  event->work_id = 0;
  event->pending = nullptr;
  if (ABSL_PREDICT_FALSE(!event->status.ok())) event->status = absl::OkStatus();
  return event;
}

size_t VerbsTransport::Poll(absl::Span<Event> events) {
  events_ = events;
  given_ = 0;
  ReturnDelivered();
  if (!owing_.empty()) PayCredit();
  if (!queued_.empty()) DeliverQueued();
  if (!sent_.empty()) DeliverSent();
  for (LaneQueues* const queues : queues_in_use_) {
    PollReceives(*queues);
    PollSends(*queues);
  }
  if (!sent_.empty()) DeliverSent();
  if (++rounds_ % kRoundsPerLook == 0 || look_around_ || handshakes_ > 0 || expects_pieces_) LookAroundIfDue();
  if (ABSL_PREDICT_FALSE(network_->reports() != reports_seen_)) CheckReports();
  if (ABSL_PREDICT_FALSE(holds_waiting_)) SeeHoldsThrough();
  if (handshakes_ > 0 || !closing_.empty()) {
    CheckDeadlines();
    AdvanceClosing();
  }
  return given_;
}

// The events of the last round are read: their buffers receive again, and their senders may send again.
void VerbsTransport::ReturnDelivered() {
  for (const Delivered& delivered : delivered_) {
    delivered.queues->ReturnBuffer(delivered.buffer);
    VerbsConnection& connection = *connections_[delivered.connection];
    if (!delivered.counts || connection.generation != delivered.generation) continue;
    if (++connection.owed < connection.credits / 2 || connection.owes_listed) continue;
    connection.owes_listed = true;
    owing_.push_back(connection.id);
  }
  delivered_.clear();
  for (LaneQueues* const queues : queues_in_use_) {
    if (!queues->has_returned()) continue;
    if (absl::Status posted = queues->PostBuffers(); ABSL_PREDICT_FALSE(!posted.ok())) {
      network_->logger().Log(LogLevel::kError, posted.message());
      network_->ReportGone(queues->device());
    }
  }
}

void VerbsTransport::PollReceives(LaneQueues& queues) {
  if (std::vector<ibv_wc>& aside = queues.set_aside_receives(); ABSL_PREDICT_FALSE(!aside.empty())) {
    size_t used = 0;
    for (; used < aside.size() && !full(); ++used) TakeReceive(queues, aside[used]);
    aside.erase(aside.begin(), aside.begin() + static_cast<ptrdiff_t>(used));
  }
  ibv_wc completions[kCompletionsPerPoll];
  while (!full()) {
    const int room = static_cast<int>(std::min<size_t>(events_.size() - given_, kCompletionsPerPoll));
    const int count = ibv_poll_cq(queues.receive_queue(), room, completions);
    for (int i = 0; i < count; ++i) TakeReceive(queues, completions[i]);
    if (count < room) {
      queues.receives_seen = true;
      return;
    }
  }
  queues.receives_seen = false;
}

void VerbsTransport::TakeReceive(LaneQueues& queues, const ibv_wc& completion) {
  const auto found = by_qp_[queues.device().index].find(completion.qp_num);
  if (ABSL_PREDICT_FALSE(found == by_qp_[queues.device().index].end())) return queues.ReturnBuffer(completion.wr_id);
  VerbsConnection& connection = *found->second;
  Immediate immediate;
  const bool usable = completion.status == IBV_WC_SUCCESS && (completion.wc_flags & IBV_WC_WITH_IMM) != 0 &&
                      completion.opcode == IBV_WC_RECV && DecodeImmediate(ntohl(completion.imm_data), &immediate);
  if (ABSL_PREDICT_FALSE(!usable)) {
    queues.ReturnBuffer(completion.wr_id);
    return OnBadReceive(connection, completion);
  }
  if (ABSL_PREDICT_FALSE(connection.state != State::kOpen && connection.state != State::kWelcoming)) {
    return queues.ReturnBuffer(completion.wr_id);
  }
  const std::byte* bytes = queues.Buffer(completion.wr_id);
  connection.credit += immediate.credit;
  if (ABSL_PREDICT_FALSE(connection.credit > connection.credits)) {
    queues.ReturnBuffer(completion.wr_id);
    return BeginClose(connection,
                      absl::InternalError(absl::StrCat("verbs: the peer broke the protocol: credit ", immediate.credit,
                                                       " makes ", connection.credit)),
                      true);
  }
  switch (immediate.type) {
    case MessageType::kPlain:
    case MessageType::kWithWrite: {
      delivered_.push_back({&queues, completion.wr_id, connection.id, connection.generation, true});
      Event* event = NextEvent(Event::Kind::kMessage, connection);
      event->write = immediate.type == MessageType::kWithWrite ? Event::Write::kLanded : Event::Write::kNone;
      event->data = bytes;
      event->data_bytes = completion.byte_len;
      return;
    }
    case MessageType::kCredit:
      return queues.ReturnBuffer(completion.wr_id);
    case MessageType::kWelcome:
      return OnWelcome(connection, bytes, completion.byte_len, completion.wr_id);
    case MessageType::kGoodbye:
      BeginClose(connection,
                 absl::UnavailableError(
                     absl::StrCat("verbs: the peer closed ", connection.remote_address, ": ",
                                  absl::string_view(reinterpret_cast<const char*>(bytes), completion.byte_len))),
                 false);
      return queues.ReturnBuffer(completion.wr_id);
  }
}

void VerbsTransport::PollSends(LaneQueues& queues) {
  if (std::vector<ibv_wc>& aside = queues.set_aside_sends(); ABSL_PREDICT_FALSE(!aside.empty())) {
    for (const ibv_wc& completion : aside) TakeSend(queues, completion);
    aside.clear();
  }
  ibv_wc completions[kCompletionsPerPoll];
  int count;
  do {
    count = ibv_poll_cq(queues.send_queue(), kCompletionsPerPoll, completions);
    for (int i = 0; i < count; ++i) TakeSend(queues, completions[i]);
  } while (count == kCompletionsPerPoll);
}

void VerbsTransport::DeliverSent() {
  while (sent_given_ < sent_.size() && !full()) {
    const Sent& sent = sent_[sent_given_++];
    NextEvent(sent.kind, sent.connection, sent.context)->work_id = sent.work_id;
  }
  if (sent_given_ < sent_.size()) return;
  sent_.clear();
  sent_given_ = 0;
}

void VerbsTransport::DeliverQueued() {
  while (!queued_.empty() && !full()) {
    events_[given_++] = std::move(queued_.front());
    queued_.pop_front();
  }
}

void VerbsTransport::LookAroundIfDue() {
  const int64_t now_ns = clock_->NowNs();
  expects_pieces_ = expects_pieces_ && now_ns < pieces_until_ns_;
  const int64_t every_ns = expects_pieces_ ? kLookForPiecesEveryNs : kLookEveryNs;
  if (!look_around_ && handshakes_ == 0 && now_ns - looked_around_ns_ < every_ns) return;
  looked_around_ns_ = now_ns;
  look_around_ = false;
  LookAround();
}

void VerbsTransport::LookAround() {
  pollfd descriptors[1 + kDevicesMax];
  descriptors[0] = {channel_->fd, POLLIN, 0};
  pollfd* const end = AddDevices(descriptors + 1);
  if (poll(descriptors, static_cast<nfds_t>(end - descriptors), 0) <= 0) return;
  if (descriptors[0].revents != 0) TakeConnectionEvents();
  if (std::any_of(descriptors + 1, end, [](const pollfd& p) { return p.revents != 0; })) {
    network_->TakeAsyncEvents();
  }
  if (!queued_.empty()) DeliverQueued();
}

// Those whose driver has let go of them stay readable, and have nothing more to say.
pollfd* VerbsTransport::AddDevices(pollfd* to) const {
  for (size_t i = 0; i < network_->device_count(); ++i) {
    const VerbsDevice& device = network_->device(i);
    if (!device.gone.load(std::memory_order_acquire)) *to++ = {device.opened.context->async_fd, POLLIN, 0};
  }
  return to;
}

void VerbsTransport::TakeConnectionEvents() {
  ConnectionEvent event;
  while (calls().TakeConnectionEvent(channel_, &event)) HandleConnectionEvent(event);
}

void VerbsTransport::HandleConnectionEvent(const ConnectionEvent& event) {
  if (event.type == RDMA_CM_EVENT_CONNECT_REQUEST) return OnRequest(event);
  auto* connection = static_cast<VerbsConnection*>(event.id->context);
  if (connection == nullptr || connection->cm_id != event.id) return;  // a listener
  const State state = connection->state;
  absl::Status status;
  switch (event.type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      if (state == State::kResolving) status = OnAddressResolved(*connection);
      break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      if (state == State::kResolving) status = OnRouteResolved(*connection);
      break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
      if (state == State::kAsking) status = OnResponse(*connection, event);
      break;
    case RDMA_CM_EVENT_ESTABLISHED:
      if (state == State::kAccepting) SayWelcome(*connection);
      break;
    case RDMA_CM_EVENT_REJECTED:
      if (connection->connecting()) status = OnRejected(*connection, event);
      break;
    case RDMA_CM_EVENT_DISCONNECTED:
      if (state != State::kOpen) {
        status = absl::UnavailableError(absl::StrCat("verbs: ", connection->remote_address, " hung up"));
        break;
      }
      // What it sent before is still to be delivered.
      if (connection->hung_up == VerbsConnection::HungUp::kNo) connection->hung_up = VerbsConnection::HungUp::kHeard;
      Watch(*connection);
      break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      if (connection->device != nullptr) network_->ReportGone(*connection->device);
      break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
      if (state != State::kResolving) break;
      [[fallthrough]];
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
      status = absl::UnavailableError(absl::StrCat("verbs: connect to ", connection->remote_address, ": ",
                                                   rdma_event_str(event.type), ", status ", event.status));
      break;
    default:
      break;
  }
  // Until somebody has taken us in, whatever fails is the path's. A response says that the peer has.
  const bool asking = state == State::kResolving || state == State::kAsking;
  if (!status.ok() && asking && event.type != RDMA_CM_EVENT_CONNECT_RESPONSE) {
    status = TryNextPath(*connection, std::move(status));
  }
  if (!status.ok()) BeginClose(*connection, std::move(status), false);
}

void VerbsTransport::Wake() {
  if (woken_.exchange(true) || !waiting_.load()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

// Asks for an event at the next completion, then looks once more: what came before the asking gives no event.
bool VerbsTransport::ArmAndLook() {
  bool found = false;
  ibv_wc completions[kCompletionsPerLook];
  for (LaneQueues* const queues : queues_in_use_) {
    if (queues->device().gone.load(std::memory_order_acquire)) continue;
    for (const bool receives : {true, false}) {
      ibv_cq* queue = receives ? queues->receive_queue() : queues->send_queue();
      std::vector<ibv_wc>& aside = receives ? queues->set_aside_receives() : queues->set_aside_sends();
      if (ibv_req_notify_cq(queue, 0) != 0) return true;
      const int count = ibv_poll_cq(queue, kCompletionsPerLook, completions);
      aside.insert(aside.end(), completions, completions + std::max(count, 0));
      found = found || !aside.empty();
    }
  }
  return found;
}

void VerbsTransport::Wait(int64_t deadline_ns) {
  waiting_.store(true);
  const bool idle = !woken_.load() && delivered_.empty() && queued_.empty() && sent_.empty() && !ArmAndLook();
  if (idle) Block(deadline_ns);
  waiting_.store(false);
  woken_.store(false);
}

void VerbsTransport::Block(int64_t deadline_ns) {
  for (const std::unique_ptr<VerbsConnection>& connection : connections_) {
    if (handshakes_ == 0 && closing_.empty()) break;
    switch (connection->state) {
      case State::kFree:
        break;
      case State::kOpen:
        if (connection->hung_up != VerbsConnection::HungUp::kNo) return;
        break;
      case State::kClosed:
        return;
      default:
        deadline_ns = std::min(deadline_ns, connection->due_ns());
    }
  }
  const int64_t left_ns = deadline_ns - clock_->NowNs();
  if (left_ns <= 0) return;
  pollfd descriptors[2 + 2 * kDevicesMax];
  descriptors[0] = {wake_fd_, POLLIN, 0};
  descriptors[1] = {channel_->fd, POLLIN, 0};
  pollfd* const first_channel = AddDevices(descriptors + 2);
  LaneQueues* listened[kDevicesMax];
  nfds_t channels = 0;
  for (LaneQueues* const queues : queues_in_use_) {
    if (queues->device().gone.load(std::memory_order_acquire)) continue;
    first_channel[channels] = {queues->channel()->fd, POLLIN, 0};
    listened[channels++] = queues;
  }
  const timespec timeout = {static_cast<time_t>(left_ns / kNsPerS), static_cast<long>(left_ns % kNsPerS)};
  const auto count = static_cast<nfds_t>(first_channel - descriptors) + channels;
  if (ppoll(descriptors, count, &timeout, nullptr) <= 0) return;
  if (descriptors[0].revents != 0) {
    uint64_t wakes;
    [[maybe_unused]] const ssize_t bytes = read(wake_fd_, &wakes, sizeof(wakes));
  }
  for (const pollfd* other = descriptors + 1; other < first_channel; ++other) look_around_ |= other->revents != 0;
  for (nfds_t i = 0; i < channels; ++i) {
    if (first_channel[i].revents != 0) calls().TakeCompletionEvents(listened[i]->channel());
  }
}

}  // namespace mcp::internal
