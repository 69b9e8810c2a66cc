// A rail that outlives its connection: lost, made anew, resumed.
//
//   from           to             when
//   idle           away           the session begins, and this is not its first rail
//   up             away           its connection closes
//   up             dropping       it is silent while another rail is heard, a frame is missing, or the peer connects it
//                                 again
//   dropping       away           kClosed
//   away           reconnecting   connecting side: the pause is over, or the rail is wanted for the first time
//   away           up             accepting side: a later generation is offered
//   reconnecting   up             connected, and the reply fits
//   reconnecting   away           kClosed
//
// What makes it exact: neither side says hello for a generation before its connection of the one before has closed, so
// that nothing of that one can land on either side any more; and both hellos carry what their sender has taken of the
// other's sequence, which stands still meanwhile. What was taken completes, what was not is posted again, and what the
// device does alone (no frames, no sequence) is posted again unless the device had said that it was done.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/random.h"
#include "lib/base/units.h"
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"
#include "lib/wire/pack.h"

namespace mcp::internal {
namespace {

// Beyond this many doublings the pause is the longest one.
constexpr uint32_t kBackoffLevelMax = 9;

}  // namespace

void Rail::BeginUp() {
  state_ = State::kUp;
  up_since_ns_ = last_heard_ns_ = last_progress_ns_ = lane_.now_ns();
  progress_when_up_ = Progress();
  lane_.TickByOnLane(lane_.now_ns());
  lane_.MarkDirtyOnLane(this);  // what has gathered meanwhile
}

void Rail::Serve(bool serves) {
  if (serves) relied_on_.store(true, std::memory_order_release);
  if (up_.exchange(serves, std::memory_order_acq_rel) != serves) session_.CountRail(index_, serves);
}

void Rail::SetUp(bool up) {
  if (up) BeginUp();
  Serve(up);
}

// The accepting side has heard that the connecting one has the connection, too.
void Rail::Appear() {
  Serve(true);
  Join();
}

void Rail::Join() {
  if (!std::exchange(joined_, true)) return session_.OnRailAdded(*this);
  ++reconnections_;
  RailCounters::Add(counters_.reconnections, 1);
  session_.OnRailBack(*this, lane_.now_ns() - lost_ns_);
}

// Grows with everything that a connection got done: frames taken whole, acknowledged, or done by the device.
uint64_t Rail::Progress() const {
  const uint32_t acknowledged = sent_.empty() ? next_sequence_ : sent_.front()->sequence;
  return uint64_t{expected_} - damaged_count_ + acknowledged + next_one_sided_ - one_sided_.size();
}

void Rail::AwaitUseOnLane() {
  state_ = State::kAway;
  retry_ns_ = std::numeric_limits<int64_t>::max();
  lane_.AddRailOnLane(this);
}

void Rail::Want() {
  if (wanted_.load(std::memory_order_relaxed) || wanted_.exchange(true, std::memory_order_relaxed)) return;
  session_.ConnectWanted(*this);
}

void Rail::ConnectWantedOnLane() {
  if (state_ == State::kAway && !joined_ && !session_.ended()) Reconnect();
}

// Begins to close a connection that another one shall follow.
void Rail::Drop(absl::Status why) {
  SetUp(false);
  state_ = State::kDropping;
  lane_.transport().Close(connection_, std::move(why));
}

void Rail::OnLost(const absl::Status& why) {
  if (!relied_on()) return OnAttemptLost(why);
  const int64_t now = lane_.now_ns();
  SetUp(false);
  const int64_t lasted_ns = now - up_since_ns_;
  if (Progress() != progress_when_up_ || lasted_ns >= kBackoffDecayNs) {
    fruitless_ = 0;
    backoff_level_ -= static_cast<uint32_t>(std::min<int64_t>(backoff_level_, 1 + lasted_ns / kBackoffDecayNs));
  } else {
    ++fruitless_;
    backoff_level_ = std::min(backoff_level_ + 1, kBackoffLevelMax);
  }
  const bool needed = Needed();
  if (!needed) fruitless_ = 0;
  if (!session_.MayRecover(why) || fruitless_ > kFruitlessConnectionsMax) return GoDown(why);
  if (!needed) relied_on_.store(false, std::memory_order_release);
  state_ = State::kAway;
  lost_ns_ = needed_ns_ = now;
  was_needed_ = needed;
  lost_why_ = why;
  attempt_why_ = absl::OkStatus();
  ForgetConnection();
  session_.OnRailLost(*this, why);
  retry_ns_ = now + Backoff();
  lane_.TickByOnLane(now);
  if (offered_ != nullptr) {
    TakeOffer();
  } else if (session_.connects() && retry_ns_ == now) {
    Reconnect();
  }
}

// The accepting side's: of a connection that the connecting side may never have had.
void Rail::OnAttemptLost(const absl::Status& why) {
  state_ = State::kAway;
  attempt_why_ = why;
  ForgetConnection();
  if (!session_.LostAllWith(index_)) LookWhetherNeeded();
  if (offered_ != nullptr) TakeOffer();
}

// What was posted comes back to be posted again. It waits in its lists, where no cancellation ends it: before the
// peer's end has closed, too, what is on its way may still land there.
void Rail::ForgetConnection() {
  for (Operation* operation = sent_.front(); operation != nullptr; operation = operation->next) {
    if (!std::exchange(operation->replay, true)) ++replays_;
    // Exported memory may have changed since; a pack is this side's own.
    if (!IsPack(operation->type)) operation->payload_hashed = false;
  }
  path_retransmits_lost_ = counters_.path_retransmits.load(std::memory_order_relaxed);
  retransmits_before_.reset();
  refused_ = backlog_ = false;
  unacknowledged_ = 0;
  ack_waited_ = ack_urgent_ = reply_wanted_ = false;
  resend_wanted_ = 0;  // all of them are asked for again
  damaged_payloads_ = 0;
}

// The session's token is as good as any random number, and no two rails and attempts share one: sessions that lost
// their connections at once come back one by one.
int64_t Rail::Backoff() const {
  if (backoff_level_ == 0) return 0;
  const int64_t pause_ns =
      std::min(kBackoffNsMin << (backoff_level_ - 1), Needed() ? kBackoffNsMax : kUnneededBackoffNsMax);
  Random random(session_.token() ^ (uint64_t{index_} << 32 | generation_));
  return pause_ns - static_cast<int64_t>(random.Unit() * static_cast<double>(pause_ns / 2));
}

// Beside another, the session can do without a rail that has carried nothing and has nothing to carry.
bool Rail::Needed() const {
  return index_ == 0 || next_sequence_ != 0 || expected_ != 0 || next_one_sided_ != 0 || !pending_.empty();
}

// Another thread may have chosen a rail that was up and give it its first operation when it is not, or when it is again
// and the peer has said nothing there: the wait begins then, or with the first look that finds something.
void Rail::LookWhetherNeeded() {
  if (Needed()) return NeedFromNow();
  was_needed_ = false;
  needed_ns_ = lane_.now_ns();
}

// If it was not before.
void Rail::NeedFromNow() {
  if (!std::exchange(was_needed_, true)) needed_ns_ = lane_.now_ns();
}

int64_t Rail::RecoveryEndsNs() {
  if (session_.opening() && session_.connects()) return session_.connect_deadline_ns();
  const bool last = session_.LostAllWith(index_);
  if (!last) LookWhetherNeeded();
  const int64_t alone_ns = session_.recovery_timeout_ns();
  return needed_ns_ + (last ? alone_ns : std::max(alone_ns, session_.peer_timeout_ns()));
}

absl::Status Rail::NotBack(int64_t waited_ns) const {
  const std::string last = attempt_why_.ok() ? "" : absl::StrCat(" (the last attempt: ", attempt_why_.message(), ")");
  const std::string what =
      joined_ ? absl::StrCat(lost_why_.message(), "; lost, and not back after ", waited_ns / kNsPerMs, " ms", last)
              : absl::StrCat("not connected in time", last);
  return session_.Error(absl::StatusCode::kUnavailable, *this, what);
}

// Away or reconnecting. Returns when to look again.
int64_t Rail::TickAway() {
  const int64_t now = lane_.now_ns();
  const int64_t ends_ns = RecoveryEndsNs();
  if (now >= ends_ns) {
    session_.Fail(NotBack(now - needed_ns_));
    return now + session_.peer_timeout_ns();
  }
  if (state_ != State::kAway || !session_.connects()) return ends_ns;
  if (now >= retry_ns_) Reconnect();
  return state_ == State::kAway ? std::min(ends_ns, retry_ns_) : ends_ns;
}

void Rail::Reconnect() {
  ++generation_;
  const auto hello = EncodeHello(session_.MakeHello(*this));
  // Over a path that is full of the other rails' payload it may take its time.
  const int64_t deadline_ns = Needed() ? std::min(RecoveryEndsNs(), lane_.now_ns() + kReconnectAttemptNs)
                                       : lane_.now_ns() + session_.connect_timeout_ns();
  // Each attempt by the next path: the one that was lost may not be there any more.
  absl::StatusOr<ConnectionId> connection =
      lane_.transport().Connect(session_.address(), next_path_++, hello, this, deadline_ns);
  if (!connection.ok()) return OnAttemptFailed(connection.status());
  connection_ = *connection;
  state_ = State::kReconnecting;
}

void Rail::OnAttemptFailed(const absl::Status& status) {
  state_ = State::kAway;
  attempt_why_ = status;
  if (session_.ended()) return;  // it is about to close this rail
  const bool in_vain = NobodyListensThere(status) || absl::StrContains(status.message(), kRefusalNoSuchSession);
  if (in_vain && Needed()) {
    session_.Fail(session_.Error(absl::StatusCode::kUnavailable, *this,
                                 absl::StrCat(lost_why_.message(), "; lost, and then: ", status.message())));
    return;
  }
  if (in_vain || (!Needed() && backoff_level_ == 0)) session_.OnRailMissing(*this, status, in_vain);
  if (in_vain) {
    retry_ns_ = std::numeric_limits<int64_t>::max();
    return;
  }
  backoff_level_ = std::min(backoff_level_ + 1, kBackoffLevelMax);
  retry_ns_ = lane_.now_ns() + Backoff();
  lane_.logger().Log(LogLevel::kDebug, "rail ", index_, ": generation ", generation_, " failed: ", status.message());
  lane_.TickByOnLane(retry_ns_);
}

void Rail::OnReconnected(absl::Span<const std::byte> reply) {
  const absl::StatusOr<Hello> hello = DecodeHello(reply);
  absl::Status wrong = hello.status();
  if (hello.ok() && (hello->generation != generation_ || hello->rail != index_ ||
                     hello->session_token != session_.token() || hello->engine_id != session_.peer_engine_id())) {
    wrong = absl::InvalidArgumentError(absl::StrCat("handshake: the reply is for generation ", hello->generation,
                                                    " of rail ", hello->rail, ", asked was for ", generation_, " of ",
                                                    index_));
  }
  // kClosed follows: an attempt that failed.
  if (!wrong.ok()) return lane_.transport().Close(connection_, wrong);
  Resume(*hello);
}

void Rail::OfferOnLane(const Hello& hello, std::unique_ptr<PendingConnection> pending) {
  if (!TakesOffers()) return pending->Refuse(kRefusalNoSuchSession);
  const uint32_t latest = offered_ != nullptr ? offered_hello_.generation : generation_;
  if (!SequenceBefore(latest, hello.generation)) {
    return pending->Refuse(
        absl::StrCat("handshake: generation ", hello.generation, " of rail ", index_, " is not after ", latest));
  }
  if (session_.connects() || state_ == State::kIdle) {
    return pending->Refuse(absl::StrCat("handshake: rail ", index_, " is not the peer's to connect"));
  }
  if (offered_ != nullptr) std::exchange(offered_, nullptr)->Refuse("handshake: a later generation is here");
  offered_ = std::move(pending);
  offered_hello_ = hello;
  if (state_ == State::kAway) return TakeOffer();
  // Its loss has not been seen here yet.
  if (state_ == State::kUp) Drop(absl::UnavailableError("the peer connects the rail again"));
}

bool Rail::TakesOffers() const {
  if (session_.ended() || state_ == State::kClosing || state_ == State::kDown) return false;
  return !relied_on() || session_.MayRecover(absl::UnavailableError(""));
}

void Rail::TakeOffer() {
  generation_ = offered_hello_.generation;
  const auto reply = EncodeHello(session_.MakeHello(*this));
  absl::StatusOr<ConnectionId> connection = lane_.transport().Accept(std::exchange(offered_, nullptr), reply, this);
  if (!connection.ok()) {
    attempt_why_ = connection.status();  // the peer tries again
    return;
  }
  connection_ = *connection;
  Resume(offered_hello_);
}

void Rail::Resume(const Hello& hello) {
  // Nothing is given to a connection that the peer might not have. Where work waits, it waits for that one anyway.
  const bool serves = session_.connects() || relied_on();
  BeginUp();
  if (serves) Serve(true);
  if (SequenceBefore(next_sequence_, hello.acknowledged)) {
    return session_.FailViolation(
        *this, absl::StrCat("handshake: acknowledged ", hello.acknowledged, " is beyond ", next_sequence_, " sent"));
  }
  if (SequenceBefore(hello.taken, hello.acknowledged) || SequenceBefore(next_sequence_, hello.taken)) {
    return session_.FailViolation(*this,
                                  absl::StrCat("handshake: taken ", hello.taken, " is not between ", hello.acknowledged,
                                               " acknowledged and ", next_sequence_, " sent"));
  }
  // Before any completion runs, which may post. What the peer has taken, also behind a frame that arrived damaged, does
  // not go again: a second copy could land on what came after it.
  for (Operation* operation = sent_.front(); operation != nullptr && SequenceBefore(operation->sequence, hello.taken);
       operation = operation->next) {
    if (std::exchange(operation->replay, false)) --replays_;
    operation->resends = 0;  // those that it asks for it asks for anew
  }
  if (serves) Join();
  // First of all what the device is to do again, in its order: its places in the window were taken before.
  while (!pending_.empty()) one_sided_.PushBack(pending_.PopFront());
  std::swap(pending_, one_sided_);
  has_deadlines_ = true;  // the next tick looks which there are
  Acknowledge(hello.acknowledged);
  progress_when_up_ = Progress();  // the last connection's is not this one's
  RequestAck();
}

}  // namespace mcp::internal
