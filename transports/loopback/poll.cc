#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transports/loopback/device.h"

namespace mcp::internal {

size_t LoopbackTransport::Poll(absl::Span<Event> events) {
  Sink sink{events};
  arena_used_ = 0;
  EmitIncoming(&sink);
  if (!connecting_.empty()) ExpireConnects();
  for (LoopbackEnd* end : later_) {
    end->delayed = false;
    Requeue(end);
  }
  later_.clear();
  mailbox_->TakeAll(&ready_);
  while (!ready_.empty() && !sink.full()) {
    LoopbackEnd* end = ready_.PopFront();
    if (end->state == LoopbackEnd::State::kDead) {
      Release(end);
      continue;
    }
    end->scheduled.store(false);  // before the look: whoever signals after it schedules anew
    const size_t used = arena_used_;
    switch (Serve(end, &sink)) {
      case Turn::kIdle:
        break;
      case Turn::kMore:
        Requeue(end);
        // Nothing was done for want of arena: that comes with the next Poll.
        if (!sink.full() && used == arena_used_) return sink.used;
        break;
      case Turn::kLater:
        LookLater(end);
        break;
    }
  }
  return sink.used;
}

void LoopbackTransport::Wait(int64_t deadline_ns) {
  if (!ready_.empty()) return;
  for (const LoopbackEnd* end : later_) {
    if (end->state == LoopbackEnd::State::kClosing) return;
    if (const LoopbackParcel* parcel = end->incoming().Front()) deadline_ns = std::min(deadline_ns, parcel->due_ns);
  }
  for (const ConnectionId id : connecting_) deadline_ns = std::min(deadline_ns, ends_[id]->connect_deadline_ns);
  mailbox_->Wait(deadline_ns, clock_);
}

void LoopbackTransport::Requeue(LoopbackEnd* end) {
  if (!end->scheduled.exchange(true)) ready_.PushBack(end);
}

void LoopbackTransport::LookLater(LoopbackEnd* end) {
  if (end->delayed) return;
  end->delayed = true;
  later_.push_back(end);
}

void LoopbackTransport::ExpireConnects() {
  const int64_t now_ns = clock_->NowNs();
  for (size_t i = connecting_.size(); i-- > 0;) {
    LoopbackEnd* end = ends_[connecting_[i]];
    if (end->connect_deadline_ns > now_ns) continue;
    {
      std::lock_guard<std::mutex> lock(end->link->mutex);
      if (end->link->phase != LoopbackLink::Phase::kPending) continue;  // answered; the answer is on its way
    }
    Close(end->id, absl::DeadlineExceededError(
                       absl::StrCat("loopback: connect to '", end->link->addresses[1], "': not accepted in time")));
  }
}

void LoopbackTransport::EmitIncoming(Sink* sink) {
  while (!sink->full()) {
    std::unique_ptr<PendingConnection> pending = mailbox_->TakeIncoming();
    if (pending == nullptr) return;
    Event* event = sink->Next();
    event->kind = Event::Kind::kIncoming;
    event->pending = pending.release();
  }
}

void LoopbackTransport::EmitClosed(LoopbackEnd* end, absl::Status reason, Sink* sink) {
  Event* event = sink->Next();
  event->kind = Event::Kind::kClosed;
  event->connection = end->id;
  event->context = end->context;
  event->status = std::move(reason);
  Detach(end);
}

LoopbackTransport::Turn LoopbackTransport::Serve(LoopbackEnd* end, Sink* sink) {
  if (end->state == LoopbackEnd::State::kConnecting && !FinishConnecting(end, sink)) return Turn::kIdle;
  if (sink->full() || !ReportSent(end, sink)) return Turn::kMore;
  if (end->state == LoopbackEnd::State::kOpen) return Receive(end, sink);
  if (end->outgoing().reading()) return Turn::kLater;  // the peer's lane is in the middle of a copy
  EmitClosed(end, std::move(end->close_reason), sink);
  return Turn::kIdle;
}

// False while the peer has not answered.
bool LoopbackTransport::FinishConnecting(LoopbackEnd* end, Sink* sink) {
  LoopbackLink* link = end->link;
  std::lock_guard<std::mutex> lock(link->mutex);
  if (link->phase == LoopbackLink::Phase::kPending) return false;
  std::erase(connecting_, end->id);
  if (link->phase == LoopbackLink::Phase::kOpen) {
    end->state = LoopbackEnd::State::kOpen;
    Event* event = sink->Next();
    event->kind = Event::Kind::kConnected;
    event->connection = end->id;
    event->context = end->context;
    event->data_bytes = static_cast<uint32_t>(link->reply.size());
    event->data = CopyToArena(link->reply.data(), link->reply.size());
    return true;
  }
  end->state = LoopbackEnd::State::kClosing;
  // An offer that failed has said why already.
  if (end->close_reason.ok()) {
    end->close_reason = absl::UnavailableError(
        absl::StrCat("loopback: connect to '", link->addresses[1], "': refused: ", link->refusal));
  }
  return true;
}

bool LoopbackTransport::ReportSent(LoopbackEnd* end, Sink* sink) {
  while (const LoopbackParcel* sent = end->outgoing().NextSent()) {
    if (sink->full()) return false;
    Event* event = sink->Next();
    event->kind = Event::Kind::kSent;
    event->connection = end->id;
    event->context = end->context;
    event->work_id = sent->work_id;
    end->outgoing().Reap();
  }
  return !sink->full();
}

LoopbackTransport::Turn LoopbackTransport::Receive(LoopbackEnd* end, Sink* sink) {
  LoopbackPipe& pipe = end->incoming();
  for (int parcels = 0; parcels < kParcelsPerTurn; ++parcels) {
    if (sink->full()) return Turn::kMore;
    const bool closed = pipe.BeginRead();
    const LoopbackParcel* parcel = end->reading_stopped ? nullptr : pipe.Front();
    if (parcel == nullptr || (closed && parcel->payload_bytes > 0)) {
      pipe.EndRead();
      if (closed) EmitClosed(end, ReasonOfPeer(end), sink);
      return Turn::kIdle;
    }
    if (parcel->due_ns != 0 && parcel->due_ns > clock_->NowNs()) {
      pipe.EndRead();
      return Turn::kLater;
    }
    const bool message = parcel->kind == WorkRequest::Kind::kMessage;
    if (!ArenaHolds(parcel->header_bytes + (message ? parcel->payload_bytes : 0))) {
      pipe.EndRead();
      return Turn::kMore;
    }
    Deliver(end, *parcel, sink);
    pipe.EndRead();
    if (pipe.Consume()) end->peer()->Schedule();
  }
  return Turn::kMore;
}

void LoopbackTransport::Deliver(LoopbackEnd* end, const LoopbackParcel& parcel, Sink* sink) {
  Event* event = sink->Next();
  event->kind = Event::Kind::kMessage;
  event->connection = end->id;
  event->context = end->context;
  event->data_bytes = parcel.header_bytes;
  event->data = CopyToArena(parcel.header, parcel.header_bytes);
  if (parcel.kind == WorkRequest::Kind::kMessage) {
    CopyToArena(parcel.payload, parcel.payload_bytes);  // adjacent to the header
    event->data_bytes += static_cast<uint32_t>(parcel.payload_bytes);
  } else {
    Place(end, parcel, event);
  }
}

void LoopbackTransport::Place(LoopbackEnd* end, const LoopbackParcel& parcel, Event* event) {
  const Resolved resolved = regions_->Resolve(parcel.key, parcel.offset, parcel.payload_bytes, kAccessRemoteWrite);
  switch (resolved.outcome) {
    case Resolved::Outcome::kOk:
      // A landing settles without waiting for rounds to end, so the copy needs a pin.
      if (!regions_->TryPin(resolved.slot, parcel.key)) {
        event->write = Event::Write::kStale;
        return;
      }
      if (parcel.payload_bytes > 0) std::memcpy(resolved.address, parcel.payload, parcel.payload_bytes);
      regions_->Unpin(resolved.slot);
      event->write = Event::Write::kLanded;
      return;
    case Resolved::Outcome::kStale:
      event->write = Event::Write::kStale;
      return;
    case Resolved::Outcome::kRefused:
      event->write = Event::Write::kRefused;
      event->status = regions_->DescribeRefusal(parcel.key, parcel.offset, parcel.payload_bytes, kAccessRemoteWrite);
      end->reading_stopped = true;
      return;
  }
}

std::byte* LoopbackTransport::CopyToArena(const std::byte* bytes, uint64_t count) {
  std::byte* at = arena_.data() + arena_used_;
  if (count > 0) std::memcpy(at, bytes, count);
  arena_used_ += count;
  return at;
}

absl::Status LoopbackTransport::ReasonOfPeer(LoopbackEnd* end) {
  std::lock_guard<std::mutex> lock(end->link->mutex);
  return absl::UnavailableError(absl::StrCat("loopback: the peer closed ", end->link->addresses[1], ": ",
                                             end->link->close_message[1 - end->side]));
}

}  // namespace mcp::internal
