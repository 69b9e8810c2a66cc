// What a session has to do with the coming and going of its rails: when those after the first are connected, whether
// lost ones may come back, and who counts them.
#include "absl/strings/str_cat.h"
#include "lib/base/units.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kUpMask = 0xffff;
constexpr int kLastLostShift = 16;

}  // namespace

bool SessionImpl::OfThePath(absl::StatusCode code) {
  return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded ||
         code == absl::StatusCode::kAborted;
}

bool SessionImpl::MayRecover(const absl::Status& why) const {
  return recovery_timeout_ns_ > 0 && OfThePath(why.code()) && !ended() &&
         phase_.load(std::memory_order_acquire) != Phase::kOpening && !peer_closed_.load(std::memory_order_acquire) &&
         !peer_left_.load(std::memory_order_acquire);
}

// How many are up, and which one was lost when none was left: one word, so that no lane sees half of it.
void SessionImpl::CountRail(uint16_t rail, bool up) {
  uint32_t before = rails_up_.load(std::memory_order_relaxed);
  uint32_t after = 0;
  do {
    after = up ? before + 1 : before - 1;
    if (!up && (after & kUpMask) == 0) after = uint32_t{rail} << kLastLostShift;
  } while (!rails_up_.compare_exchange_weak(before, after, std::memory_order_acq_rel));
}

bool SessionImpl::CountDownUnlessLast() {
  uint32_t before = rails_up_.load(std::memory_order_relaxed);
  while ((before & kUpMask) > 1) {
    if (rails_up_.compare_exchange_weak(before, before - 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

bool SessionImpl::LostAllWith(uint16_t rail) const {
  return rails_up_.load(std::memory_order_acquire) == uint32_t{rail} << kLastLostShift;
}

void SessionImpl::OnRailLost(const Rail& rail, const absl::Status& why) {
  rail_changes_.fetch_add(1, std::memory_order_relaxed);
  TellChoiceOfRail(rail.index());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    FindNearRails();
  }
  host_.logger().Log(rail.relied_on() ? LogLevel::kWarning : LogLevel::kDebug,
                     Error(why.code(), rail, why.message()).message(), "; lost, ",
                     connects() ? "connecting it again" : "waiting for the peer to connect it again");
}

// What the rail is by then: the news of its loss may come when it is back.
void SessionImpl::TellChoiceOfRail(uint16_t index) {
  home_lane_.Run([self = shared_from_this(), index] {
    self->choice_.OnRail(index, self->rails_[index]->up(), self->home_lane_.clock().NowNs());
  });
}

void SessionImpl::OnRailBack(const Rail& rail, int64_t away_ns) {
  TellChoiceOfRail(rail.index());
  host_.logger().Log(LogLevel::kInfo, "session with ", peer_, ": rail ", rail.index(), ": back after ",
                     away_ns / kNsPerUs, " us, as generation ", rail.generation());
  DescribeRail(rail);
}

// Only one side connects; the other one asks it to.
void SessionImpl::ConnectWanted(Rail& rail) {
  if (connects()) return rail.lane().Run([self = shared_from_this(), &rail] { rail.ConnectWantedOnLane(); });
  home_lane_.Run([self = shared_from_this(), &rail] {
    if (self->ended() || rail.up()) return;
    Operation* connect = self->home().NewFrame(FrameType::kConnect);
    connect->words[0] = rail.index();
    self->home().EnqueueOnLane(connect);
  });
}

void SessionImpl::OnConnect(const Frame& frame) {
  if (!connects()) return FailViolation(home(), "connect frame: the rails are not this side's to connect");
  if (frame.connect.rail == 0 || frame.connect.rail >= rail_count_) {
    return FailViolation(
        home(), absl::StrCat("connect frame: rail ", frame.connect.rail, " is not between 1 and ", rail_count_ - 1));
  }
  rails_[frame.connect.rail]->Want();
}

void SessionImpl::OnRailAdded(const Rail& rail) {
  rail_changes_.fetch_add(1, std::memory_order_relaxed);
  home_lane_.Run([self = shared_from_this(), index = rail.index()] {
    self->choice_.OnRailAdded(index, self->home_lane_.clock().NowNs());
  });
  DescribeRail(rail);
  host_.logger().Log(LogLevel::kDebug, "session with ", peer_, ": rail ", rail.index(), ": connected");
  const bool all = rails_made_.fetch_add(1, std::memory_order_acq_rel) + 1 == rail_count_;
  if (connects() && all) home_lane_.Run([self = shared_from_this()] { self->Open(); });
}

// Its work goes by the others meanwhile, but where the session was to have all of them from the beginning.
void SessionImpl::OnRailMissing(const Rail& rail, const absl::Status& why, bool in_vain) {
  DescribeRail(rail);
  const absl::Status missing = Error(why.code(), rail, absl::StrCat("not connected: ", why.message()));
  if (in_vain && opening()) return Fail(missing);
  host_.logger().Log(LogLevel::kWarning, missing.message(), in_vain ? "" : "; it is tried again");
}

// The peer connects the rail for the first time, or has lost its connection, whether or not this side has seen it.
void SessionImpl::AcceptRail(const Hello& hello, std::unique_ptr<PendingConnection> pending) {
  Rail& rail = *rails_[hello.rail];
  rail.lane().Run([self = shared_from_this(), &rail, hello, pending = std::move(pending)]() mutable {
    if (hello.engine_id != self->peer_engine_id_) return pending->Refuse(kRefusalNoSuchSession);
    rail.OfferOnLane(hello, std::move(pending));
  });
}

// One that is up, where there is one, since others' work would wait: in turn, or by nearness.
Rail& SessionImpl::NextCarrier(const RegionImpl& region, uint64_t length) {
  if (const RailMask near = NearTo(region); near != 0) {
    if (Rail* const rail = LeastLoaded(near, length, 0, 1); rail != nullptr) return *rail;
  }
  const uint32_t first = NextRailIndex();
  for (uint32_t i = 0; i < rail_count_; ++i) {
    Rail& rail = *rails_[(first + i) % rail_count_];
    if (rail.TakesWork()) return rail;
  }
  return home();
}

}  // namespace mcp::internal
