// A rail's life: connecting, closing, and the timers that tell a dead peer from a quiet one.
#include "lib/session/rail.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

int64_t ProbeAfterNsMin(const TransportInfo& info) {
  return info.tail_probe_ns > 0 ? std::min(info.tail_probe_ns, kProbeAfterNs) : kProbeAfterNs;
}

}  // namespace

Rail::Rail(SessionImpl& session, uint16_t index, Lane& lane)
    : session_(session),
      lane_(lane),
      index_(index),
      device_places_((lane.transport().info().capabilities & kCapabilityRemotePlacement) != 0),
      wanted_(index == 0),
      probe_after_ns_min_(ProbeAfterNsMin(lane.transport().info())),
      joined_(index == 0),
      next_path_(index) {}

absl::Status Rail::ConnectOnLane(absl::string_view address, absl::Span<const std::byte> hello, int64_t deadline_ns) {
  absl::StatusOr<ConnectionId> connection = lane_.transport().Connect(address, next_path_++, hello, this, deadline_ns);
  if (!connection.ok()) return connection.status();
  connection_ = *connection;
  state_ = State::kConnecting;
  lane_.AddRailOnLane(this);
  return absl::OkStatus();
}

absl::Status Rail::AcceptOnLane(std::unique_ptr<PendingConnection> pending, absl::Span<const std::byte> reply) {
  absl::StatusOr<ConnectionId> connection = lane_.transport().Accept(std::move(pending), reply, this);
  if (!connection.ok()) return connection.status();
  connection_ = *connection;
  lane_.AddRailOnLane(this);
  SetUp(true);
  return absl::OkStatus();
}

void Rail::OnConnected(const Event& event) {
  if (event.connection != connection_) return;
  const absl::Span<const std::byte> reply = absl::MakeConstSpan(event.data, event.data_bytes);
  if (state_ == State::kReconnecting) return OnReconnected(reply);
  if (state_ != State::kConnecting) return;
  SetUp(true);
  session_.OnFirstConnected(reply);
}

void Rail::CloseOnLane(const absl::Status& reason) {
  switch (state_) {
    case State::kIdle:
    case State::kAway:
      return GoDown(reason);
    case State::kUp:
      // Otherwise the peer might take it for a connection that was lost, and wait for another one.
      PostAck(kFlagLeaving, 0, true);
      SetUp(false);
      [[fallthrough]];
    case State::kConnecting:
    case State::kReconnecting:
      lane_.transport().Close(connection_, reason);
      [[fallthrough]];
    case State::kDropping:
      state_ = State::kClosing;
      return;
    case State::kClosing:
    case State::kDown:
      return;
  }
}

void Rail::OnClosed(const Event& event) {
  switch (state_) {
    case State::kUp:
    case State::kDropping:
      return OnLost(event.status);
    case State::kReconnecting:
      return OnAttemptFailed(event.status);
    case State::kDown:
      return;
    default:
      return GoDown(event.status);
  }
}

void Rail::GoDown(const absl::Status& status) {
  SetUp(false);
  if (offered_ != nullptr) std::exchange(offered_, nullptr)->Refuse(kRefusalNoSuchSession);
  state_ = State::kDown;
  lane_.RemoveRailOnLane(this);
  session_.OnRailDown(*this, status);
}

void Rail::EndOperationsOnLane(const absl::Status& status) {
  // Completions may enqueue more; the session has ended, so that what they enqueue is refused at the door.
  while (!sent_.empty()) CompleteSent(sent_.PopFront(), status);
  while (!one_sided_.empty()) CompleteSent(one_sided_.PopFront(), status);
  while (!pending_.empty()) session_.FinishOperation(*this, pending_.PopFront(), status);
  while (!landings_.empty()) {
    Landing* landing = landings_.front();
    // At once: no connection is left to wait for.
    if (landing->window != 0) lane_.transport().windows()->Close(std::exchange(landing->window, 0));
    if (landing->closing) {
      lane_.ForgetOnLane(landing);
    } else {
      lane_.regions().Invalidate(landing->key);
      landing->outcome = status;
    }
    CompleteLanding(landing);
  }
}

void Rail::CloseLanding(Landing* landing, absl::Status outcome) {
  if (landing->closing) return;
  landing->closing = true;
  landing->outcome = std::move(outcome);
  lane_.regions().Invalidate(landing->key);
  if (landing->window != 0 && !lane_.transport().windows()->Close(landing->window)) return;
  OnWindowClosed(landing);
}

// Its devices' keys are taken back: what is left to wait for is lanes that look at it.
void Rail::OnWindowClosed(Landing* landing) {
  landing->window = 0;
  if (lane_.regions().LandingSettled(landing->key)) {
    CompleteLanding(landing);
  } else {
    lane_.SettleOnLane(landing);
  }
}

absl::StatusOr<RemoteWindow> Rail::LetIn(Landing* landing, absl::Span<std::byte> range) {
  MCP_ASSIGN_OR_RETURN(landing->key, lane_.regions().Insert(range.data(), range.size(), kAccessRemoteWrite, landing));
  PeerWindows* const windows = lane_.transport().windows();
  if (windows == nullptr || range.empty()) return landing->region->WindowAt(range.data());
  const absl::StatusOr<PeerWindows::Opened> opened =
      windows->Open(state_ == State::kUp ? std::optional(connection_) : std::nullopt, *landing->region->registration(),
                    range, landing);
  if (!opened.ok()) {
    lane_.regions().Invalidate(std::exchange(landing->key, 0));
    return opened.status();
  }
  landing->window = opened->name;
  return opened->window;
}

void Rail::CompleteLanding(Landing* landing) {
  landings_.Remove(landing);
  session_.FinishLanding(*this, landing);
}

int64_t Rail::OnTick() {
  const int64_t now = lane_.now_ns();
  const int64_t patience = session_.peer_timeout_ns();
  int64_t next = now + patience / 4;
  if (has_deadlines_) ExpireOperations();
  if (has_deadlines_) next = now + kDeadlineTickNs;
  if (index_ == 0) next = std::min(next, session_.OnHomeTick());
  if (state_ == State::kAway || state_ == State::kReconnecting) next = std::min(next, TickAway());
  if (state_ != State::kUp) return next;
  counters_.memory_bytes.store(MemoryBytes(), std::memory_order_relaxed);
  MeasureSilence();
  if (now - path_asked_ns_ >= kPathEveryNs) AskPathOnLane();
  if (silent_ns_ >= patience) {
    OnSilence();
    return next;
  }
  if (silent_ns_ >= patience / 4 && now - last_ping_ns_ >= patience / 4 && PostAck(kFlagReplyWanted, 0, true)) {
    last_ping_ns_ = now;
  }
  if (!sent_.empty()) {
    if (now - std::max(last_progress_ns_, probe_sent_ns_) >= ProbeAfterNs()) Probe();
    next = std::min(next, now + ProbeAfterNs());
  }
  return std::min(next, now + patience - silent_ns_);
}

// With another rail the peer may still be heard: then it is this rail that is dead, and not the peer.
void Rail::OnSilence() {
  absl::Status why =
      absl::UnavailableError(absl::StrCat("no sign of life for ", silent_ns_ / kNsPerMs, " ms (peer_timeout is ",
                                          session_.peer_timeout_ns() / kNsPerMs, " ms)"));
  if (!relied_on()) return Drop(std::move(why));  // the peer may not even know of it
  if (session_.MayRecover(why) && session_.CountDownUnlessLast()) {
    up_.store(false, std::memory_order_release);  // it has been counted
    return Drop(std::move(why));
  }
  session_.Fail(session_.Error(why.code(), *this, why.message()));
}

// A lane that did not run for a while (a stopped or starved process) could not have heard its peer meanwhile: what
// exceeds the time between two ticks by much is not held against the peer.
void Rail::MeasureSilence() {
  const int64_t now = lane_.now_ns();
  const int64_t since_ns = now - std::max(last_heard_ns_, last_tick_ns_);
  if (last_heard_ns_ >= last_tick_ns_) silent_ns_ = 0;
  silent_ns_ += std::min(since_ns, session_.peer_timeout_ns() / 2);
  last_tick_ns_ = now;
}

PathStatistics Rail::AskPathOnLane() {
  if (state_ != State::kUp) return {};
  path_asked_ns_ = lane_.now_ns();
  const PathStatistics path = lane_.transport().Statistics(connection_);
  // A device counts for all its connections, and since before this one. One that goes counts nothing any more.
  if (!retransmits_before_.has_value()) retransmits_before_ = path.retransmits;
  if (path.retransmits > *retransmits_before_) {
    counters_.path_retransmits.store(path_retransmits_lost_ + path.retransmits - *retransmits_before_,
                                     std::memory_order_relaxed);
  }
  counters_.bytes_between_losses.store(path.bytes_between_losses, std::memory_order_relaxed);
  counters_.path_counted_before.store(*retransmits_before_, std::memory_order_relaxed);
  counters_.path_counted.store(path.retransmits, std::memory_order_relaxed);
  counters_.path_counter.store(path.counter, std::memory_order_release);
  return path;
}

RailLosses Rail::Losses() const {
  RailLosses losses;
  losses.counter = counters_.path_counter.load(std::memory_order_acquire);
  losses.counted = counters_.path_counted.load(std::memory_order_relaxed);
  losses.before = counters_.path_counted_before.load(std::memory_order_relaxed);
  losses.own = counters_.retransmitted_tiles.load(std::memory_order_relaxed);
  if (losses.counter == 0) losses.own += counters_.path_retransmits.load(std::memory_order_relaxed);
  return losses;
}

int64_t Rail::ProbeAfterNs() const {
  constexpr uint32_t kDoublingsMax = 16;
  const uint32_t in_row = last_progress_ns_ > probe_sent_ns_ ? 0 : std::min(probes_, kDoublingsMax);
  return std::min(probe_after_ns_min_ << in_row, kProbeAfterNs);
}

// Unlike an acknowledgement it does not overtake: when it arrives, what was posted before it has arrived or is lost. To
// a device that finds a loss by what comes behind it, the probe is that; so is the peer's answer, to the peer's device.
void Rail::Probe() {
  // It would overtake what waits to be sent again, and the peer would miss that.
  if (replays_ > 0) return;
  if (!PostAck(kFlagProbe, 0, false)) return;
  probes_ = last_progress_ns_ > probe_sent_ns_ ? 1 : probes_ + 1;
  probe_sent_ns_ = lane_.now_ns();
}

namespace {

absl::Status Expired() { return absl::DeadlineExceededError("the operation's timeout passed"); }

}  // namespace

// What has not been posted ends now; what has been is the peer's to acknowledge, and ends then or with the session.
void Rail::ExpireOperations() {
  const int64_t now = lane_.now_ns();
  const auto expired = [now](const Operation& operation) {
    return operation.deadline_ns != 0 && operation.deadline_ns <= now;
  };
  while (Operation* operation = pending_.Remove(expired)) session_.FinishOperation(*this, operation, Expired());
  for (Landing* landing = landings_.front(); landing != nullptr;) {
    Landing* next = landing->next;
    if (!landing->closing && landing->deadline_ns != 0 && landing->deadline_ns <= now) {
      session_.WithdrawLanding(*this, landing, Expired());
      next = landings_.front();  // a completion may have changed the list
    }
    landing = next;
  }
  has_deadlines_ = pending_.Any([](const Operation& operation) { return operation.deadline_ns != 0; });
  for (const Landing* landing = landings_.front(); landing != nullptr; landing = landing->next) {
    has_deadlines_ |= landing->deadline_ns != 0;
  }
}

bool Rail::CancelOnLane(OperationId id, const absl::Status& status) {
  const auto named = [id](const Operation& operation) {
    return operation.id == id || (operation.transfer != nullptr && operation.transfer->id == id);
  };
  bool found = false;
  while (Operation* operation = pending_.Remove(named)) {
    found = true;
    session_.FinishOperation(*this, operation, status);
  }
  for (Landing* landing = landings_.front(); landing != nullptr; landing = landing->next) {
    if (landing->id != id) continue;
    session_.WithdrawLanding(*this, landing, status);
    return true;
  }
  return found;
}

void Rail::CloseLandingOf(uint64_t key, absl::Status outcome) {
  for (Landing* landing = landings_.front(); landing != nullptr; landing = landing->next) {
    if (landing->key == key) return CloseLanding(landing, std::move(outcome));
  }
}

void Rail::AbandonLandingOf(uint64_t key, const absl::Status& outcome) {
  for (Landing* landing = landings_.front(); landing != nullptr; landing = landing->next) {
    if (landing->key != key) continue;
    if (!landing->withdrawn) return CloseLanding(landing, outcome);
    if (++landing->abandons < session_.rail_count()) return;
    return CloseLanding(landing, landing->outcome);
  }
}

absl::string_view Rail::WhyNotConnected() const {
  if (!attempt_why_.ok()) return attempt_why_.message();
  if (!lost_why_.ok()) return lost_why_.message();
  return wanted_.load(std::memory_order_relaxed) ? "it was wanted just now" : "no work has wanted it yet";
}

RailDescription Rail::DescribeOnLane() const {
  RailDescription description;
  description.transport = lane_.transport().info().name;
  description.device = lane_.transport().info().device;
  description.lane = static_cast<int>(lane_.index());
  if (!relied_on()) {
    description.notes.push_back(absl::StrCat("not connected: ", WhyNotConnected()));
    return description;
  }
  const ConnectionDescription connection = lane_.transport().Describe(connection_);
  description.local = connection.local_address;
  description.remote = connection.remote_address;
  description.notes = connection.notes;
  if (reconnections_ > 0) {
    description.notes.push_back(
        absl::StrCat("reconnected ", reconnections_, " times, the last time because of: ", lost_why_.message()));
  }
  return description;
}

NodeDistances Rail::DistancesOnLane() const {
  return relied_on() ? lane_.transport().Distances(connection_) : NodeDistances{};
}

uint64_t Rail::MemoryBytes() const {
  return sizeof(Rail) + (sent_.size() + one_sided_.size() + pending_.size() + packed_) * sizeof(Operation) +
         packs_ * sizeof(PackBuffer) + (state_ == State::kUp ? lane_.transport().MemoryBytes(connection_) : 0);
}

}  // namespace mcp::internal
