// Two-sided messages, on the home lane: small ones go eagerly against credit, large ones are announced, matched by the
// receiver, and then written straight into the buffer that they were matched with.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

// What a message that waits at the receiver costs beside its bytes: its place in the lists.
constexpr uint64_t kMessageCost = 64;
// Report what was matched once this share of the credit has gathered.
constexpr uint64_t kCreditReports = 4;

absl::Status TooLong(uint64_t message_bytes, uint64_t buffer_bytes) {
  return absl::OutOfRangeError(
      absl::StrCat("a message of ", message_bytes, " bytes met a receive buffer of ", buffer_bytes));
}

}  // namespace

uint64_t MessageCost(FrameType type, uint64_t length) {
  return kMessageCost + (type == FrameType::kRequest ? 0 : length);
}

void SessionImpl::StartSend(uint64_t tag, const Work& work, bool hedge, Completion&& completion) {
  const uint64_t length = work.local.length;
  const bool whole = eager_limit_.Decides(length)
                         ? eager_limit_.Begin(length, RoomForLongOne(length), home_lane_.now_ns())
                         : eager_limit_.IsShort(length);
  const FrameType carried = hedge && Hedges(length) ? FrameType::kHedged : FrameType::kEager;
  Operation* operation = NewOperation(home(), whole ? carried : FrameType::kRequest, work, std::move(completion));
  operation->words[0] = tag;
  if (operation->deadline_ns != 0) {
    home_deadlines_ = true;
    home().WatchDeadlines(operation->deadline_ns);
  }
  // Behind those that wait: messages of one tag are matched in the order of their sends.
  if (!waiting_for_credit_.empty() || !CreditAllows(*operation)) return waiting_for_credit_.PushBack(operation);
  SpendCredit(operation);
}

// Long messages that go whole leave credit to others: to announced ones above all, which cost next to nothing. Where
// much is held beside what is on its way, the receiver is late.
EagerLimit::Room SessionImpl::RoomForLongOne(uint64_t length) const {
  const uint64_t spent = credit_spent_ - credit_returned_ + MessageCost(FrameType::kEager, length);
  const uint64_t held = spent - std::min(spent, eager_limit_.whole_bytes());
  if (held > peer_credit_bytes_ / 2) return EagerLimit::Room::kLate;
  if (!waiting_for_credit_.empty() || spent > peer_credit_bytes_ / 8 * 7) return EagerLimit::Room::kFull;
  return EagerLimit::Room::kEnough;
}

bool SessionImpl::CreditAllows(const Operation& operation) const {
  const uint64_t spent = credit_spent_ - credit_returned_ + MessageCost(operation.type, operation.payload_bytes);
  return spent <= peer_credit_bytes_;
}

void SessionImpl::SpendCredit(Operation* operation) {
  credit_spent_ += MessageCost(operation->type, operation->payload_bytes);
  if (operation->type == FrameType::kEager) return home().EnqueueOnLane(operation);
  if (operation->type == FrameType::kHedged) return LaunchHedge(operation);
  // The operation waits for its grant under a name; a frame of its own announces it.
  RailCounters::Add(home().counters().announced_transfers, 1);
  const uint64_t transfer = granting_.Add(operation);
  Operation* request = home().NewFrame(FrameType::kRequest);
  request->words[0] = operation->words[0];
  request->words[1] = transfer;
  request->payload_bytes = operation->payload_bytes;
  home().EnqueueOnLane(request);
}

void SessionImpl::OnCredit(Rail& rail, uint64_t credit) {
  if (rail.index() != 0) return;
  if (credit > credit_spent_) {
    return FailViolation(rail, absl::StrCat("ack frame: credit ", credit, " is beyond ", credit_spent_, " spent"));
  }
  if (credit <= credit_returned_) return;  // late or repeated
  credit_returned_ = credit;
  while (!waiting_for_credit_.empty() && CreditAllows(*waiting_for_credit_.front())) {
    SpendCredit(waiting_for_credit_.PopFront());
  }
}

void SessionImpl::ReturnCredit(uint64_t cost) {
  matched_ += cost;
  if (matched_ - matched_reported_ >= kEagerCreditBytes / kCreditReports) home().RequestAck();
}

uint64_t SessionImpl::CreditToReport(uint16_t rail) {
  if (rail != 0) return 0;
  matched_reported_ = matched_;
  return matched_;
}

void SessionImpl::OnOrdered(Rail& rail, const Frame& frame, const std::byte* payload) {
  if (frame.type == FrameType::kGet) return OnGet(rail, frame);
  if (rail.device_places() && frame.type == FrameType::kRevoke) return OnRevoke(frame);
  if (rail.device_places() && frame.type == FrameType::kAbandon) return OnAbandon(rail, frame);
  if (rail.index() != 0) {
    return FailViolation(rail, absl::StrCat(FrameTypeName(frame.type), " frame: belongs on rail 0"));
  }
  switch (frame.type) {
    case FrameType::kEager:
      return OnEager(frame, payload);
    case FrameType::kMessages:
      return OnMessages(frame, payload);
    case FrameType::kRequest:
      return OnRequest(frame);
    case FrameType::kGrant:
      return OnGrant(frame);
    case FrameType::kRevoke:
      return OnRevoke(frame);
    case FrameType::kWithdraw:
      return OnWithdraw(frame);
    case FrameType::kAbandon:
      return OnAbandon(rail, frame);
    case FrameType::kClose:
      return OnPeerClose();
    case FrameType::kConnect:
      return OnConnect(frame);
    default:
      return;
  }
}

void SessionImpl::OnEager(const Frame& frame, const std::byte* payload) {
  RailCounters::Add(home().counters().payload_bytes_received, frame.payload_bytes);
  DeliverEager(frame.eager.tag, payload, frame.payload_bytes);
}

void SessionImpl::DeliverEager(uint64_t tag, const std::byte* payload, uint64_t bytes) {
  const uint64_t cost = MessageCost(FrameType::kEager, bytes);
  if (PostedReceive* receive = matcher_.Match(tag); receive != nullptr) {
    ReturnCredit(cost);
    if (bytes > receive->length) return FinishReceive(receive, TooLong(bytes, receive->length), 0, tag);
    std::memcpy(receive->local, payload, bytes);
    return FinishDelivered(receive, bytes, tag);
  }
  if (!HoldUnexpected(cost)) return;
  UnexpectedMessage* message = matcher_.NewUnexpected();
  message->tag = tag;
  Matcher::Hold(payload, bytes, message);
  matcher_.Add(message);
}

// The peer may make this side hold no more than it was granted credit for.
bool SessionImpl::HoldUnexpected(uint64_t cost) {
  if (unexpected_cost_ + cost > kEagerCreditBytes) {
    FailViolation(home(), absl::StrCat("unmatched messages of ", unexpected_cost_ + cost,
                                       " bytes exceed the credit of ", kEagerCreditBytes));
    return false;
  }
  unexpected_cost_ += cost;
  return true;
}

void SessionImpl::OnRequest(const Frame& frame) {
  const uint64_t cost = MessageCost(FrameType::kRequest, 0);
  if (PostedReceive* receive = matcher_.Match(frame.request.tag); receive != nullptr) {
    ReturnCredit(cost);
    return Grant(receive, frame.request.tag, frame.payload_bytes, frame.request.transfer);
  }
  if (!HoldUnexpected(cost)) return;
  UnexpectedMessage* message = matcher_.NewUnexpected();
  message->tag = frame.request.tag;
  message->length = frame.payload_bytes;
  message->request = true;
  message->transfer = frame.request.transfer;
  matcher_.Add(message);
}

void SessionImpl::StartReceive(uint64_t tag, uint64_t tag_mask, const Work& work, std::unique_ptr<ChunkDelivery> chunks,
                               Completion&& completion) {
  PostedReceive* receive = matcher_.NewReceive();
  receive->tag = tag;
  receive->tag_mask = tag_mask;
  receive->local = work.local.data;
  receive->length = work.local.length;
  receive->region = work.local.region;
  receive->id = work.id;
  receive->deadline_ns = work.deadline_ns;
  receive->completion = std::move(completion);
  receive->chunks = std::move(chunks);
  UnexpectedMessage* message = matcher_.Find(receive->tag, receive->tag_mask);
  if (message == nullptr) {
    if (receive->deadline_ns != 0) {
      home_deadlines_ = true;
      home().WatchDeadlines(receive->deadline_ns);
    }
    return matcher_.Post(receive);
  }
  const uint64_t cost = MessageCost(message->request ? FrameType::kRequest : FrameType::kEager, message->length);
  unexpected_cost_ -= cost;
  ReturnCredit(cost);
  if (message->request) {
    Grant(receive, message->tag, message->length, message->transfer);
  } else if (message->length > receive->length) {
    FinishReceive(receive, TooLong(message->length, receive->length), 0, message->tag);
  } else {
    std::memcpy(receive->local, message->payload(), message->length);
    FinishReceive(receive, absl::OkStatus(), message->length, message->tag);
  }
  matcher_.Release(message);
}

// Completions of receives run later in the round: a receive that is posted inside one may match at once, and so on.
void SessionImpl::FinishReceive(PostedReceive* receive, absl::Status status, uint64_t bytes, uint64_t tag) {
  if (receive->region != nullptr) receive->region->Unreference(home_lane_.shard());
  receive->session = this;
  receive->status = std::move(status);
  receive->bytes = bytes;
  receive->tag = tag;
  home_lane_.CompleteLaterOnLane(receive);
}

// FinishReceive for what the peer's frame has filled: nobody's call is on the stack, so it completes now, while it is
// in the cache and before the next message needs a receive; but not before those that ended earlier.
void SessionImpl::FinishDelivered(PostedReceive* receive, uint64_t bytes, uint64_t tag) {
  if (ABSL_PREDICT_FALSE(home_lane_.ReceivesToComplete())) return FinishReceive(receive, absl::OkStatus(), bytes, tag);
  if (receive->region != nullptr) receive->region->Unreference(home_lane_.shard());
  receive->status = absl::OkStatus();
  receive->bytes = bytes;
  receive->tag = tag;
  CompleteReceive(receive);
}

void SessionImpl::CompleteReceive(PostedReceive* receive) {
  const bool ok = receive->status.ok();
  if (ok && receive->chunks != nullptr) receive->chunks->OnWhole(receive->bytes);
  RailCounters& counters = home().counters();
  RailCounters::Add(ok ? counters.operations_completed : counters.operations_failed, 1);
  home_places_.GiveBack(true);
  std::move(receive->completion)({std::move(receive->status), receive->bytes, receive->tag, receive->id});
  receive->completion = nullptr;
  receive->chunks = nullptr;
  matcher_.Release(receive);
  CloseIfClosing();
}

void SessionImpl::Grant(PostedReceive* receive, uint64_t tag, uint64_t length, uint64_t transfer) {
  Operation* grant = home().NewFrame(FrameType::kGrant);
  grant->words[0] = transfer;
  const uint64_t limit =
      receive->chunks == nullptr ? receive->length : std::min(receive->length, ChunkDelivery::kMessageBytesMax);
  grant->words[2] = limit;
  if (length > limit) {
    home().EnqueueOnLane(grant);
    return FinishReceive(receive, TooLong(length, limit), 0, tag);
  }
  Landing* landing = home_lane_.landings().Get();
  // Before the key is there for other lanes to resolve: what these read of a landing.
  landing->home = &home();
  landing->bytes_left.store(length, std::memory_order_relaxed);
  landing->chunks = std::move(receive->chunks);
  if (length == 0) landing->chunks.reset();  // of nothing there are no parts
  if (landing->chunks != nullptr) landing->chunks->Begin(length);
  landing->region = receive->region;
  const absl::StatusOr<RemoteWindow> window = home().LetIn(landing, {receive->local, length});
  if (!window.ok()) {
    landing->chunks.reset();
    home_lane_.landings().Return(landing);
    home().EnqueueOnLane(grant);
    return FinishReceive(receive, window.status(), 0, tag);
  }
  landing->length = length;
  landing->tag = tag;
  landing->from_send = true;
  landing->id = receive->id;
  landing->deadline_ns = receive->deadline_ns;
  landing->closing = landing->withdrawn = false;
  landing->abandons = 0;
  landing->completion = std::move(receive->completion);
  home().OpenLanding(landing);
  matcher_.Release(receive);
  grant->words[1] = landing->key;
  window->Store(grant->words + kFrameWindowWord);
  home().EnqueueOnLane(grant);
}

void SessionImpl::OnGrant(const Frame& frame) {
  Operation* operation = granting_.Take(frame.grant.transfer);
  if (operation == nullptr) {
    if (!granting_.Known(frame.grant.transfer)) {
      return FailViolation(home(),
                           absl::StrCat("grant frame: transfer ", frame.grant.transfer, " was never announced"));
    }
    // Withdrawn while the grant was on its way: the receiver must not wait for it.
    if (frame.grant.key != 0) Abandon(home(), frame.grant.key);
    return;
  }
  if (frame.grant.key == 0) {
    const absl::Status refused = TooLong(operation->payload_bytes, frame.grant.limit);
    return FinishOperation(home(), operation, refused);
  }
  CountGranted(*operation);
  operation->type = FrameType::kTile;
  operation->words[0] = frame.grant.key;
  operation->words[1] = 0;
  RemoteWindow::Load(frame.grant.window).Store(operation->words + kFrameWindowWord);
  StartMatched(operation);
}

// What is still to be sent to that landing ends now; what has been posted ends, as revoked, with its acknowledgement.
void SessionImpl::OnRevoke(const Frame& frame) {
  const uint64_t key = frame.revoke.key;
  for (auto& rail : rails_) {
    if (rail->lane().OnThisLane()) {
      Revoke(*rail, key);
    } else {
      rail->lane().Run([self = shared_from_this(), &rail, key] { self->Revoke(*rail, key); });
    }
  }
}

// A device that places writes by itself cannot be told to discard them. So the peer keeps the landing until each rail
// has said, behind all that was posted there, that nothing more comes. Where a rail was never connected, nothing was
// posted, and nothing will be now: the first rail says so in its stead.
void SessionImpl::Revoke(Rail& rail, uint64_t key) {
  rail.RevokeOnLane(key);
  if (!rail.device_places() || rail.index() >= rail_count_) return;
  if (rail.relied_on()) return Abandon(rail, key);
  home_lane_.Run([self = shared_from_this(), key] {
    if (!self->ended()) self->Abandon(self->home(), key);
  });
}

void SessionImpl::Abandon(Rail& rail, uint64_t key) {
  Operation* abandon = rail.NewFrame(FrameType::kAbandon);
  abandon->words[0] = key;
  rail.EnqueueOnLane(abandon);
}

void SessionImpl::OnWithdraw(const Frame& frame) {
  UnexpectedMessage* message = matcher_.FindRequest(frame.withdraw.transfer);
  if (message == nullptr) return;  // matched meanwhile: the sender answers the grant
  const uint64_t cost = MessageCost(FrameType::kRequest, 0);
  unexpected_cost_ -= cost;
  ReturnCredit(cost);
  matcher_.Release(message);
}

void SessionImpl::OnAbandon(Rail& rail, const Frame& frame) {
  const uint64_t key = frame.abandon.key;
  const absl::Status given_up = absl::CancelledError("the sender gave the message up");
  if (!rail.device_places()) return home().CloseLandingOf(key, given_up);
  RegionTable& regions = rail.lane().regions();
  const Resolved resolved = regions.Resolve(key, 0, 0, kAccessRemoteWrite);
  if (resolved.outcome != Resolved::Outcome::kOk || resolved.owner == nullptr) return;  // it has ended meanwhile
  if (!regions.TryPin(resolved.slot, key)) return;
  Rail* const landing_rail = static_cast<Landing*>(resolved.owner)->home;
  regions.Unpin(resolved.slot);
  if (&landing_rail->session() != this) {
    return FailViolation(rail, "abandon frame: the landing is another session's");
  }
  if (landing_rail->lane().OnThisLane()) return landing_rail->AbandonLandingOf(key, given_up);
  landing_rail->lane().Run(
      [self = shared_from_this(), landing_rail, key, given_up] { landing_rail->AbandonLandingOf(key, given_up); });
}

// A send that was announced and not granted yet: the peer forgets it, and its operation ends now.
void SessionImpl::WithdrawSend(uint64_t transfer, const absl::Status& status) {
  Operation* operation = granting_.Take(transfer);
  Operation* withdraw = home().NewFrame(FrameType::kWithdraw);
  withdraw->words[0] = transfer;
  home().EnqueueOnLane(withdraw);
  FinishOperation(home(), operation, status);
}

bool SessionImpl::CancelOnHome(OperationId id, const absl::Status& status) {
  if (PostedReceive* receive = matcher_.TakeReceive([id](const PostedReceive& posted) { return posted.id == id; });
      receive != nullptr) {
    FinishReceive(receive, status, 0, 0);
    return true;
  }
  const auto named = [id](const Operation& operation) { return operation.id == id; };
  if (Operation* operation = waiting_for_credit_.Remove(named); operation != nullptr) {
    FinishOperation(home(), operation, status);
    return true;
  }
  if (const uint64_t transfer = granting_.Find(named); transfer != 0) {
    WithdrawSend(transfer, status);
    return true;
  }
  StopStreamOf(id);
  return false;
}

void SessionImpl::ExpireOnHome() {
  const int64_t now = home_lane_.now_ns();
  const absl::Status expired = absl::DeadlineExceededError("the operation's timeout passed");
  const auto late = [now](const auto& item) { return item.deadline_ns != 0 && item.deadline_ns <= now; };
  while (PostedReceive* receive = matcher_.TakeReceive(late)) FinishReceive(receive, expired, 0, 0);
  while (Operation* operation = waiting_for_credit_.Remove(late)) FinishOperation(home(), operation, expired);
  while (const uint64_t transfer = granting_.Find(late)) WithdrawSend(transfer, expired);
  const auto timed = [](const auto& item) { return item.deadline_ns != 0; };
  home_deadlines_ = matcher_.AnyReceive(timed) || waiting_for_credit_.Any(timed) || granting_.Find(timed) != 0;
}

}  // namespace mcp::internal
