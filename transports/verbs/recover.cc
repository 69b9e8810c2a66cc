// Faults and endings. A connection ends in this order: the goodbye, where this side closes; the queue pair fails, and
// everything posted comes back, and what it took off the shared receive queue; the queue pair is destroyed, so that its
// device touches no memory for it any more; then kSent for what that gave back, and kClosed.
#include <algorithm>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/base/units.h"
#include "transports/verbs/device.h"

namespace mcp::internal {
namespace {

// A goodbye that takes longer, behind what was posted before it, is given up.
constexpr int64_t kGoodbyeNs = 200 * kNsPerMs;
// A device that does not give back what was posted for so long never will: destroying the queue pair makes it.
constexpr int64_t kDrainNs = 2 * kNsPerS;
// To say that receives are back. A device that has not done so this often in a row is not waited for until it does.
constexpr int64_t kLastReceiveNs = 100 * kNsPerMs;
constexpr uint32_t kLastReceivesMissedMax = 3;
constexpr size_t kGoodbyeBytesMax = 512;
constexpr int kCompletionsAside = 64;

}  // namespace

void VerbsTransport::Close(ConnectionId id, absl::Status reason) {
  VerbsConnection* connection = Find(id);
  if (connection != nullptr) BeginClose(*connection, std::move(reason), true);
}

void VerbsTransport::Watch(VerbsConnection& connection) {
  if (std::exchange(connection.in_closing, true)) return;
  closing_.push_back(connection.id);
}

void VerbsTransport::BeginClose(VerbsConnection& connection, absl::Status reason, bool tell_peer) {
  const bool was_open = connection.state == State::kOpen;
  if (!was_open && !connection.connecting()) return;
  if (!was_open) --handshakes_;
  connection.ask_again_ns = 0;
  connection.reason = std::move(reason);
  Watch(connection);
  if (was_open && tell_peer && connection.hung_up == VerbsConnection::HungUp::kNo) {
    const std::string text(connection.reason.message().substr(0, kGoodbyeBytesMax));
    connection.state = State::kLeaving;
    connection.deadline_ns = clock_->NowNs() + kGoodbyeNs;
    if (PostOwn(connection, MessageType::kGoodbye, {reinterpret_cast<const std::byte*>(text.data()), text.size()})) {
      return;
    }
  }
  FailQueuePair(connection);
}

void VerbsTransport::FailQueuePair(VerbsConnection& connection) {
  connection.state = State::kClosed;
  // A device that is gone gives nothing back.
  if (connection.qp == nullptr || connection.device->gone.load(std::memory_order_acquire)) return;
  connection.state = State::kDraining;
  connection.deadline_ns = clock_->NowNs() + kDrainNs;
  if (absl::Status failed = calls().FailQueuePair(connection.qp); !failed.ok()) {
    network_->logger().Log(LogLevel::kWarning, "verbs: ", connection.remote_address, ": ", failed.message());
    connection.state = State::kClosed;  // destroying it will have to do
  }
  // What completed unseen gives no completion, and what did not is flushed: the marker comes back behind both.
  if (connection.state == State::kDraining && !connection.sends.idle() && !PostMarker(connection)) {
    connection.state = State::kClosed;
  }
  if (connection.cm_id != nullptr) calls().Disconnect(connection.cm_id);
}

void VerbsTransport::TakeSend(LaneQueues& queues, const ibv_wc& completion) {
  const auto index = static_cast<ConnectionId>(completion.wr_id >> 32 & 0xffff);
  const auto generation = static_cast<uint16_t>(completion.wr_id >> 48);
  if (index >= connections_.size()) return;
  VerbsConnection& connection = *connections_[index];
  if (connection.generation != generation || connection.qp == nullptr) return;
  const auto number = static_cast<uint32_t>(completion.wr_id);
  const bool succeeded = completion.status == IBV_WC_SUCCESS;
  const PostedWork* done = nullptr;
  connection.sends.CompleteThrough(succeeded ? number : number - 1, [&](PostedWork& work) {
    if (std::exchange(work.one_sided, false)) {
      done = &work;
      if (!work.registered.valid()) return;
    }
    Retire(connection, work, true);
  });
  if (done != nullptr && sent_.empty() && !full()) {
    NextEvent(Event::Kind::kDone, connection)->work_id = done->work_id;
  } else if (done != nullptr) {
    sent_.push_back({Event::Kind::kDone, connection.id, connection.context, done->work_id});
  }
  if (ABSL_PREDICT_FALSE(!succeeded)) OnSendFailed(queues, connection, completion);
}

// What came before a request that failed was done; the request itself was not.
ABSL_ATTRIBUTE_NOINLINE void VerbsTransport::OnSendFailed(LaneQueues& queues, VerbsConnection& connection,
                                                          const ibv_wc& completion) {
  connection.sends.CompleteThrough(static_cast<uint32_t>(completion.wr_id), [&](PostedWork& work) {
    work.one_sided = false;
    Retire(connection, work, false);
  });
  const FaultAction action = FaultOf(completion.status).action;
  if (action == FaultAction::kDeviceGone) network_->ReportGone(queues.device());
  if (connection.state == State::kLeaving) return FailQueuePair(connection);
  if (connection.state != State::kOpen) return;
  absl::Status reason = ReasonOf(connection, completion);
  if (completion.status == IBV_WC_LOC_QP_OP_ERR && PortIsDown(*connection.device)) {
    // Soft-RoCE says so of what it can't send for want of a link: that is the path's fault, not the request's.
    reason = absl::UnavailableError(absl::StrCat("the port is down: ", reason.message()));
  }
  BeginClose(connection,
             absl::Status(reason.code(), absl::StrCat("verbs ", queues.device().opened.name, ": ",
                                                      connection.remote_address, ": ", reason.message())),
             false);
}

bool VerbsTransport::PortIsDown(const VerbsDevice& device) {
  const absl::StatusOr<ibv_port_attr> port = calls().QueryPort(device.opened.context, device.port);
  return port.ok() && port->state != IBV_PORT_ACTIVE;
}

void VerbsTransport::OnBadReceive(VerbsConnection& connection, const ibv_wc& completion) {
  if (connection.state == State::kLeaving) return FailQueuePair(connection);
  const bool refused = completion.status == IBV_WC_SUCCESS;
  if (FaultOf(completion.status).action == FaultAction::kDeviceGone) network_->ReportGone(*connection.device);
  BeginClose(connection,
             refused ? absl::InternalError("verbs: the peer broke the protocol: a message of unknown kind")
                     : ReasonOf(connection, completion),
             refused);
}

// What is flushed follows from something that the device may have reported.
absl::Status VerbsTransport::ReasonOf(const VerbsConnection& connection, const ibv_wc& completion) {
  if (FaultOf(completion.status).action == FaultAction::kFlushed) {
    network_->TakeAsyncEvents();
    if (absl::Status reported = ReportedFault(connection); !reported.ok()) return reported;
  }
  return CompletionStatus(completion);
}

absl::Status VerbsTransport::ReportedFault(const VerbsConnection& connection) const {
  const int event = connection.report.event.load(std::memory_order_acquire);
  if (event < 0) return absl::OkStatus();
  const auto type = static_cast<ibv_event_type>(event);
  const AsyncFault& fault = FaultOf(type);
  return absl::Status(
      fault.action == FaultAction::kSessionPoisoned ? absl::StatusCode::kInternal : absl::StatusCode::kUnavailable,
      absl::StrCat("verbs ", connection.device->opened.name, ": ", connection.remote_address, ": ", fault.cause, " (",
                   ibv_event_type_str(type), ")"));
}

// Devices have reported something: whom it concerns finds out here.
void VerbsTransport::CheckReports() {
  reports_seen_ = network_->reports();
  SeeHoldsThrough();
  for (const std::unique_ptr<VerbsConnection>& connection : connections_) {
    if (connection->state == State::kFree || connection->device == nullptr) continue;
    if (connection->device->gone.load(std::memory_order_acquire)) {
      BeginClose(
          *connection,
          absl::UnavailableError(absl::StrCat("verbs ", connection->device->opened.name, ": the device is gone")),
          false);
    } else if (absl::Status reported = ReportedFault(*connection); !reported.ok()) {
      BeginClose(*connection, std::move(reported), false);
    }
  }
}

// Gives back what a work request held.
void VerbsTransport::Retire(VerbsConnection& connection, PostedWork& work, bool done) {
  if (work.staging != kNoStagingSlot) {
    connection.queues->ReturnSlot(std::exchange(work.staging, kNoStagingSlot));
  }
  if (work.registered.valid()) {
    if (std::exchange(work.transient, false)) {
      network_->verbs_memory().Forget(std::move(work.registered));
    } else {
      work.registered.Reset();
    }
  }
  if (work.held.valid()) work.held.Reset();
  if (std::exchange(work.reports, false)) {
    sent_.push_back({Event::Kind::kSent, connection.id, connection.context, work.work_id});
  }
  if (work.window == 0) return;
  const uint64_t window = std::exchange(work.window, 0);
  if (!std::exchange(work.binds, false)) return OnUnbound(window, done);
  if (!done) OnBindFlushed(window);
}

void VerbsTransport::CheckDeadlines() {
  const int64_t now_ns = clock_->NowNs();
  for (const std::unique_ptr<VerbsConnection>& connection : connections_) {
    if (connection->state == State::kFree || connection->state == State::kOpen || connection->state == State::kClosed ||
        connection->due_ns() > now_ns) {
      continue;
    }
    if (connection->state == State::kAsking && connection->deadline_ns > now_ns) {
      if (absl::Status asked = AskAgain(*connection); !asked.ok()) BeginClose(*connection, std::move(asked), false);
    } else if (connection->state == State::kLeaving) {
      FailQueuePair(*connection);
    } else if (connection->state == State::kDraining) {
      if (connection->awaits_receives) continue;  // AdvanceClosing's matter
      network_->logger().Log(LogLevel::kWarning, "verbs ", connection->device->opened.name, ": ",
                             connection->remote_address, ": the device did not give back what was posted");
      connection->state = State::kClosed;  // destroying the queue pair has to do
    } else {
      BeginClose(*connection,
                 absl::DeadlineExceededError(absl::StrCat("verbs: ", connection->remote_address,
                                                          connection->state == State::kAccepting
                                                              ? ": the peer did not confirm in time"
                                                              : ": not connected in time")),
                 false);
    }
  }
}

// A queue pair that is destroyed before keeps, for good, the buffers of messages that it was taking in.
bool VerbsTransport::ReceivesAreBack(VerbsConnection& connection) {
  if (!connection.receives || connection.report.last_receive.load(std::memory_order_acquire)) return true;
  std::atomic<uint32_t>& missed = connection.device->last_receives_missed;
  if (missed.load(std::memory_order_relaxed) >= kLastReceivesMissedMax) {
    network_->TakeAsyncEvents();  // it may speak up all the same
    return true;
  }
  const int64_t now_ns = clock_->NowNs();
  if (!std::exchange(connection.awaits_receives, true)) connection.deadline_ns = now_ns + kLastReceiveNs;
  if (now_ns < connection.deadline_ns) {
    look_around_ = true;
    return false;
  }
  if (missed.fetch_add(1, std::memory_order_relaxed) + 1 == kLastReceivesMissedMax) {
    network_->logger().Log(LogLevel::kDebug, "verbs ", connection.device->opened.name,
                           ": does not say when a failed queue pair has given back what it was to receive into");
  }
  return true;
}

void VerbsTransport::AdvanceClosing() {
  size_t kept = 0;
  // BeginClose may add to the list.
  for (size_t i = 0; i < closing_.size(); ++i) {
    VerbsConnection& connection = *connections_[closing_[i]];
    if (connection.state == State::kOpen) {
      // It hung up. One more full look at what it sent before.
      if (connection.hung_up == VerbsConnection::HungUp::kHeard) {
        connection.hung_up = VerbsConnection::HungUp::kLooked;
      } else if (connection.queues->receives_seen) {
        BeginClose(connection, absl::UnavailableError(absl::StrCat("verbs: ", connection.remote_address, " hung up")),
                   false);
      }
    }
    const bool ending = connection.state == State::kLeaving || connection.state == State::kDraining;
    if (ending && connection.device->gone.load(std::memory_order_acquire)) connection.state = State::kClosed;
    if (connection.state == State::kLeaving && connection.sends.idle()) FailQueuePair(connection);
    if (connection.state == State::kDraining && connection.sends.idle() && ReceivesAreBack(connection)) {
      connection.state = State::kClosed;
    }
    if (connection.state == State::kClosed) {
      if (connection.cm_id != nullptr && connection.qp != nullptr) calls().Disconnect(connection.cm_id);
      DropQueuePair(connection);
    }
    // Its kSent events come first.
    if (connection.state != State::kClosed || full() || !sent_.empty()) {
      closing_[kept++] = connection.id;
      continue;
    }
    absl::Status reason = std::move(connection.reason);
    Event* event = NextEvent(Event::Kind::kClosed, connection);
    FinishClose(connection);
    event->status = std::move(reason);
  }
  closing_.resize(kept);
}

// Nothing of the connection is left but its entry.
void VerbsTransport::FinishClose(VerbsConnection& connection) {
  if (connection.cm_id != nullptr && connection.qp != nullptr) calls().Disconnect(connection.cm_id);
  DropQueuePair(connection);
  if (connection.cm_id != nullptr) calls().DestroyId(std::exchange(connection.cm_id, nullptr));
  const uint16_t generation = connection.generation;
  const ConnectionId id = connection.id;
  std::destroy_at(&connection);
  std::construct_at(&connection);
  connection.id = id;
  connection.generation = static_cast<uint16_t>(generation + 1);
  free_ids_.push_back(id);
}

void VerbsTransport::DropQueuePair(VerbsConnection& connection) {
  if (connection.queues == nullptr) return;
  LaneQueues& queues = *connection.queues;
  if (connection.qp != nullptr) {
    const uint32_t number = connection.qp->qp_num;
    SetReceivesAside(queues, number);
    calls().DestroyQueuePair(std::exchange(connection.qp, nullptr));
    SetReceivesAside(queues, number);
    by_qp_[connection.device->index].erase(number);
    if (!connection.sends.idle()) {
      connection.sends.CompleteThrough(connection.sends.posted() - 1, [&](PostedWork& work) {
        if (std::exchange(work.binds, false)) work.window = 0;  // done or not: nobody will say
        Retire(connection, work, false);
      });
    }
  }
  queues.ReturnShare();
  connection.queues = nullptr;
}

// The next queue pair may get the number of the one that goes: what came for this one must not be taken for its.
void VerbsTransport::SetReceivesAside(LaneQueues& queues, uint32_t qp_number) {
  std::vector<ibv_wc>& aside = queues.set_aside_receives();
  ibv_wc completions[kCompletionsAside];
  int count;
  while ((count = ibv_poll_cq(queues.receive_queue(), kCompletionsAside, completions)) > 0) {
    aside.insert(aside.end(), completions, completions + count);
  }
  const auto gone = std::remove_if(aside.begin(), aside.end(), [&](const ibv_wc& completion) {
    if (completion.qp_num != qp_number) return false;
    queues.ReturnBuffer(completion.wr_id);
    return true;
  });
  aside.erase(gone, aside.end());
}

}  // namespace mcp::internal
