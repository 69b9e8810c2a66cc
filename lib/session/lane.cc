#include "lib/session/lane.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/base/attributes.h"
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

// The one per-thread variable: which lane this thread is driving. Not state of the library, but of the call stack.
// Initial-exec: a load through the thread pointer, where the default for libraries is a call.
[[gnu::tls_model("initial-exec")]] thread_local Lane* current_lane = nullptr;

}  // namespace

Lane::Lane(Dependencies dependencies)
    : index_(dependencies.index),
      transport_(std::move(dependencies.transport)),
      regions_(dependencies.regions),
      clock_(dependencies.clock),
      logger_(dependencies.logger),
      on_incoming_(std::move(dependencies.on_incoming)),
      context_(dependencies.policy, dependencies.forced, dependencies.profile, dependencies.logger) {
  now_ns_ = clock_->NowNs();
  next_tick_ns_ = now_ns_;
}

Lane::~Lane() = default;

Lane* Lane::Current() { return current_lane; }

const void* Lane::ThisThread() { return &current_lane; }

Lane::Binding::Binding(Lane& lane) : previous_(std::exchange(current_lane, &lane)) {}

Lane::Binding::~Binding() { current_lane = previous_; }

bool Lane::Submit(Submission&& submission) {
  if (!submissions_.TryPush(std::move(submission))) return false;
  Wake();
  return true;
}

void Lane::SubmitAlways(Submission&& submission) {
  if (Submit(std::move(submission))) return;
  Run([this, submission = std::move(submission)]() mutable { SessionImpl::Take(*this, submission); });
}

void Lane::Run(absl::AnyInvocable<void() &&> function) {
  {
    const std::lock_guard<std::mutex> lock(functions_mutex_);
    functions_.push_back(std::move(function));
  }
  has_functions_.store(true, std::memory_order_seq_cst);
  Wake();
}

// A lane announces its sleep before it looks at its queues for the last time, and those who add to them look for the
// announcement afterwards: one of the two sees the other.
void Lane::Wake() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst)) transport_->Wake();
}

// What a round without work looks at is looked at here; whatever is found is done elsewhere, so that this stays short.
size_t Lane::RoundOnLane() {
  MCP_ASSERT(OnThisLane());
  regions_->EnterRound(index_);
  now_known_ = false;
  size_t done = 0;
  if (!submissions_.EmptyApprox()) done += DrainSubmissions();
  if (has_functions_.load(std::memory_order_acquire)) done += DrainFunctions();
  if (!dirty_.empty()) PostDirty();
  const size_t events = transport_->Poll(absl::MakeSpan(events_));
  done += Dispatch(events);
  if (!ended_.empty() || !ended_receives_.empty()) done += CompleteEnded();
  if (!dirty_.empty()) done += FlushDirty(false);
  regions_->LeaveRound(index_);
  if (!settling_.empty()) done += SettleLandings();
  if (TickIsDue()) Tick();
  return done;
}

ABSL_ATTRIBUTE_NOINLINE size_t Lane::DrainSubmissions() {
  int count = 0;
  Submission submission;
  while (count < kSubmissionsPerRound && submissions_.TryPop(&submission)) {
    SessionImpl::Take(*this, submission);
    ++count;
  }
  return static_cast<size_t>(count);
}

ABSL_ATTRIBUTE_NOINLINE size_t Lane::DrainFunctions() {
  std::vector<absl::AnyInvocable<void() &&>> functions;
  {
    const std::lock_guard<std::mutex> lock(functions_mutex_);
    functions.swap(functions_);
    has_functions_.store(false, std::memory_order_seq_cst);
  }
  for (auto& function : functions) std::move(function)();
  return functions.size();
}

size_t Lane::Dispatch(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const Event& event = events_[i];
    Rail* rail = static_cast<Rail*>(event.context);
    switch (event.kind) {
      case Event::Kind::kWindowClosed: {
        // Its pool keeps it, and a name is given once: what serves another operation by now is not mistaken.
        auto* const landing = static_cast<Landing*>(event.context);
        if (landing->window == event.work_id) landing->home->OnWindowClosed(landing);
        break;
      }
      case Event::Kind::kMessage:
        rail->OnMessage(event);
        break;
      case Event::Kind::kDone:
        rail->OnDone(event);
        break;
      case Event::Kind::kConnected:
        rail->OnConnected(event);
        break;
      case Event::Kind::kClosed:
        rail->OnClosed(event);
        break;
      case Event::Kind::kIncoming:
        on_incoming_(std::unique_ptr<PendingConnection>(event.pending));
        break;
      case Event::Kind::kSent:
        break;  // rails ask for none: they complete by acknowledgement
    }
  }
  return count;
}

// What was started since the last round leaves with this round's Poll, not the next one's.
ABSL_ATTRIBUTE_NOINLINE void Lane::PostDirty() {
  size_t kept = 0;
  for (Rail* const rail : dirty_) {
    rail->PostPending();
    rail->dirty = rail->wants_flush();
    if (rail->dirty) dirty_[kept++] = rail;
  }
  dirty_.erase(dirty_.begin() + static_cast<ptrdiff_t>(kept), dirty_.end());
}

ABSL_ATTRIBUTE_NOINLINE size_t Lane::FlushDirty(bool about_to_block) {
  flushing_.swap(dirty_);
  for (Rail* rail : flushing_) {
    rail->dirty = false;
    rail->Flush(about_to_block);
    if (rail->wants_flush()) MarkDirtyOnLane(rail);
  }
  size_t backlog = 0;
  for (const Rail* rail : flushing_) backlog += rail->has_backlog() ? 1 : 0;
  flushing_.clear();
  return backlog;
}

// What ends while this runs waits for the next round.
ABSL_ATTRIBUTE_NOINLINE size_t Lane::CompleteEnded() {
  completing_.swap(ended_);
  size_t count = completing_.size();
  for (Ended& ended : completing_) ended.rail->session().Complete(ended);
  completing_.clear();
  PostedReceiveList receives = std::exchange(ended_receives_, {});
  for (; !receives.empty(); ++count) {
    PostedReceive* const receive = receives.PopFront();
    receive->session->CompleteReceive(receive);
  }
  return count;
}

ABSL_ATTRIBUTE_NOINLINE size_t Lane::SettleLandings() {
  size_t done = 0;
  for (size_t i = 0; i < settling_.size();) {
    Landing* landing = settling_[i];
    if (!regions_->LandingSettled(landing->key)) {
      ++i;
      continue;
    }
    settling_[i] = settling_.back();
    settling_.pop_back();
    landing->home->CompleteLanding(landing);
    ++done;
  }
  return done;
}

// Most rounds are far from the next tick, and a coarse look tells.
bool Lane::TickIsDue() {
  const int64_t surely_before_ns = next_tick_ns_ - Clock::kCoarseNsMax;
  if (!now_known_ && now_ns_ < surely_before_ns && clock_->CoarseNowNs() < surely_before_ns) return false;
  return now_ns() >= next_tick_ns_;
}

ABSL_ATTRIBUTE_NOINLINE void Lane::Tick() {
  // Rails may leave while this runs, or ask for an earlier tick.
  next_tick_ns_ = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < rails_.size(); ++i) TickByOnLane(rails_[i]->OnTick());
}

void Lane::WaitOnLane(int64_t deadline_ns) {
  MCP_ASSERT(OnThisLane());
  if (FlushDirty(true) != 0) return;
  // A matter of another lane's round, or of our next.
  if (!settling_.empty() || !ended_.empty() || !ended_receives_.empty()) return;
  sleeping_.store(true, std::memory_order_seq_cst);
  if (submissions_.EmptyApprox() && !has_functions_.load(std::memory_order_seq_cst)) {
    transport_->Wait(std::min(deadline_ns, next_tick_ns_));
    now_known_ = false;
  }
  sleeping_.store(false, std::memory_order_seq_cst);
}

void Lane::AddRailOnLane(Rail* rail) {
  rails_.push_back(rail);
  TickByOnLane(now_ns());
}

void Lane::RemoveRailOnLane(Rail* rail) { rails_.erase(std::remove(rails_.begin(), rails_.end(), rail), rails_.end()); }

void Lane::MarkDirtyOnLane(Rail* rail) {
  // A rail that is down has nothing to send, and may be gone before the next flush.
  if (rail->state() == Rail::State::kDown || std::exchange(rail->dirty, true)) return;
  dirty_.push_back(rail);
}

void Lane::ForgetOnLane(const Rail* rail) {
  dirty_.erase(std::remove(dirty_.begin(), dirty_.end(), rail), dirty_.end());
}

void Lane::ForgetOnLane(const Landing* landing) {
  settling_.erase(std::remove(settling_.begin(), settling_.end(), landing), settling_.end());
}

void Lane::SettleOnLane(Landing* landing) { settling_.push_back(landing); }

}  // namespace mcp::internal
