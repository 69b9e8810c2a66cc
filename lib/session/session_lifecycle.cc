// How a session begins and ends.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/units.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

constexpr absl::string_view kCloseReason = "the peer closed the session";

}  // namespace

SessionImpl::SessionImpl(SessionHost& host, const SessionOptions& options, uint32_t home_lane, uint16_t rails,
                         uint64_t token, std::string peer)
    : host_(host),
      options_(options),
      home_lane_(host.lane(home_lane)),
      peer_(std::move(peer)),
      token_(token),
      lane_count_(host.lane_count()),
      rail_count_(rails),
      checksum_(options.checksum),
      peer_timeout_ns_(options.peer_timeout.count() * kNsPerMs),
      recovery_timeout_ns_(options.recovery_timeout.count() * kNsPerMs),
      connect_timeout_ns_(options.connect_timeout.count() * kNsPerMs),
      outstanding_max_per_rail_(std::max<uint32_t>(1, options.outstanding_max / rails)),
      eager_bytes_max_(std::min<uint64_t>(home_lane_.transport().info().eager_bytes_max,
                                          home_lane_.transport().info().message_bytes_max - kFrameHeaderBytesMax)),
      choice_(&home_lane_.context()),
      eager_limit_(eager_bytes_max_,
                   std::min<uint64_t>(home_lane_.transport().info().eager_bytes_most,
                                      home_lane_.transport().info().message_bytes_max - kFrameHeaderBytesMax),
                   home_lane_.context().forced()) {
  rails_.reserve(rails);
  for (uint16_t i = 0; i < rails; ++i) {
    rails_.push_back(std::make_unique<Rail>(*this, i, host.lane((home_lane + i) % lane_count_)));
  }
  descriptions_.resize(rails);
  distances_.resize(rails);
}

Hello SessionImpl::MakeHello(const Rail& rail) const {
  Hello hello;
  hello.features = (checksum_ ? uint64_t{kFeatureChecksum} : 0) | (OffersOneSided() ? uint64_t{kFeatureOneSided} : 0);
  hello.engine_id = host_.engine_id();
  hello.session_token = token_;
  hello.rail = rail.index();
  hello.rails = rail_count_;
  hello.generation = rail.generation();
  hello.acknowledged = rail.AcknowledgedByUs();
  hello.taken = rail.expected();
  hello.peer_timeout_ms = static_cast<uint32_t>(options_.peer_timeout.count());
  hello.outstanding_max = options_.outstanding_max;
  hello.eager_credit_bytes = kEagerCreditBytes;
  hello.abilities = kAbilityPacks | kAbilityHedge;
  return hello;
}

// Work that nobody here hears of would leave an idle timeout none the wiser.
bool SessionImpl::OffersOneSided() const {
  const bool able = (home_lane_.transport().info().capabilities & kCapabilityOneSided) != 0;
  return able && options_.idle_timeout.count() == 0;
}

// Payload is checked if either side wants it; the rest is the smaller of both.
void SessionImpl::Negotiate(const Hello& hello) {
  checksum_ = checksum_ || (hello.features & kFeatureChecksum) != 0;
  one_sided_ = !checksum_ && OffersOneSided() && (hello.features & kFeatureOneSided) != 0;
  peer_hedges_ = (hello.abilities & kAbilityHedge) != 0;
  rail_count_ = std::min(rail_count_, hello.rails);
  peer_credit_bytes_ = hello.eager_credit_bytes;
  peer_outstanding_max_ = hello.outstanding_max;
  const bool packs = (hello.abilities & kAbilityPacks) != 0;
  pack_bytes_max_ = packs ? std::min<uint64_t>(PackBuffer::kBytes, eager_bytes_max_) : 0;
  peer_engine_id_ = hello.engine_id;
}

void SessionImpl::Connect(std::string address, OpenCallback opened) {
  address_ = std::move(address);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    opened_ = std::move(opened);
  }
  home_lane_.Run([self = shared_from_this()] {
    if (self->ended()) return;
    self->connect_deadline_ns_ = self->home_lane_.now_ns() + self->connect_timeout_ns_;
    const auto hello = EncodeHello(self->MakeHello(self->home()));
    const absl::Status begun = self->home().ConnectOnLane(self->address_, hello, self->connect_deadline_ns_);
    if (!begun.ok()) self->Fail(begun);
  });
}

void SessionImpl::OnFirstConnected(absl::Span<const std::byte> reply) {
  const absl::StatusOr<Hello> hello = DecodeHello(reply);
  if (!hello.ok())
    return Fail(absl::Status(hello.status().code(), absl::StrCat(peer_, ": ", hello.status().message())));
  Negotiate(*hello);
  token_ = hello->session_token;
  AwaitUseOfRails();
  DescribeRail(home());
  if (rails_made_.fetch_add(1, std::memory_order_acq_rel) + 1 == rail_count_ || options_.rails_on_first_use) {
    return home_lane_.Run([self = shared_from_this()] { self->Open(); });
  }
  for (uint16_t i = 1; i < rail_count_; ++i) rails_[i]->Want();
}

// From here on they can be wanted, here and by the peer.
void SessionImpl::AwaitUseOfRails() {
  for (uint16_t i = 1; i < rail_count_; ++i) {
    DescribeRail(*rails_[i]);
    rails_[i]->lane().Run([self = shared_from_this(), &rail = *rails_[i]] {
      if (!self->ended()) rail.AwaitUseOnLane();
    });
  }
}

void SessionImpl::DescribeRail(const Rail& rail) {
  const std::lock_guard<std::mutex> lock(mutex_);
  descriptions_[rail.index()] = rail.DescribeOnLane();
  distances_[rail.index()] = rail.DistancesOnLane();
  FindNearRails();
}

void SessionImpl::Open() {
  if (ended() || !opening()) return;
  phase_.store(Phase::kOpen, std::memory_order_release);
  OpenCallback opened;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    opened = std::move(opened_);
    opened_ = nullptr;
  }
  if (opened) std::move(opened)(shared_from_this());
}

void SessionImpl::Accept(std::unique_ptr<PendingConnection> pending, OpenCallback accepted) {
  home_lane_.Run([self = shared_from_this(), pending = std::move(pending), accepted = std::move(accepted)]() mutable {
    if (self->ended()) return pending->Refuse("the session has ended");
    self->AwaitUseOfRails();  // before the peer knows the session by which it can connect them
    const auto reply = EncodeHello(self->MakeHello(self->home()));
    const absl::Status taken = self->home().AcceptOnLane(std::move(pending), reply);
    if (!taken.ok()) return self->Fail(taken);
    self->rails_made_.fetch_add(1, std::memory_order_acq_rel);
    self->DescribeRail(self->home());
    self->phase_.store(Phase::kOpen, std::memory_order_release);
    std::move(accepted)(self);
  });
}

absl::Status SessionImpl::Error(absl::StatusCode code, const Rail& rail, absl::string_view what) const {
  return absl::Status(code, absl::StrCat("session with ", peer_, ": rail ", rail.index(), ": ", what));
}

void SessionImpl::FailViolation(const Rail& rail, absl::string_view what) {
  Fail(Error(absl::StatusCode::kInternal, rail, absl::StrCat("the peer broke the protocol: ", what)));
}

void SessionImpl::Fail(const absl::Status& status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended()) return;
    end_status_ = status;
    ended_.store(true, std::memory_order_release);
  }
  const bool expected = status.code() == absl::StatusCode::kCancelled || peer_closed_.load(std::memory_order_acquire);
  host_.logger().Log(expected ? LogLevel::kInfo : LogLevel::kWarning, status.message());
  for (auto& rail : rails_) {
    rail->lane().Run([self = shared_from_this(), &rail, status] { rail->CloseOnLane(status); });
  }
}

// The last rail to go down knows that nothing touches the session's memory any more.
void SessionImpl::OnRailDown(Rail& rail, const absl::Status& status) {
  if (!ended()) {
    if (status.ok() || status.code() == absl::StatusCode::kCancelled) peer_closed_.store(true);
    if (peer_closed_.load(std::memory_order_acquire)) {
      Fail(absl::UnavailableError(absl::StrCat("session with ", peer_, ": ", kCloseReason)));
    } else {
      Fail(Error(absl::StatusCode::kUnavailable, rail, status.message()));
    }
  }
  if (rails_down_.fetch_add(1, std::memory_order_acq_rel) + 1 < rails_.size()) return;
  for (auto& ending : rails_) {
    ending->lane().Run([self = shared_from_this(), &ending] { self->EndRail(*ending); });
  }
}

void SessionImpl::EndRail(Rail& rail) {
  rail.EndOperationsOnLane(status());
  rail.lane().ForgetOnLane(&rail);
  if (rails_finished_.fetch_add(1, std::memory_order_acq_rel) + 1 < rails_.size()) return;
  home_lane_.Run([self = shared_from_this()] { self->EndHome(); });
}

void SessionImpl::EndHome() {
  const absl::Status why = status();
  while (PostedReceive* receive = matcher_.TakeReceive([](const PostedReceive&) { return true; })) {
    FinishReceive(receive, why, 0, 0);
  }
  while (!waiting_for_credit_.empty()) FinishOperation(home(), waiting_for_credit_.PopFront(), why);
  while (const uint64_t transfer = granting_.Find([](const Operation&) { return true; })) {
    FinishOperation(home(), granting_.Take(transfer), why);
  }
  FinishWhenUnused();
}

// Operations that were on their way to a lane when the session ended still have to come out of its queue.
void SessionImpl::FinishWhenUnused() {
  if (Outstanding() != 0 || answering_.load(std::memory_order_acquire) != 0 ||
      hedges_under_way_.load(std::memory_order_acquire) != 0) {
    home_lane_.Run([self = shared_from_this()] { self->FinishWhenUnused(); });
    return;
  }
  // The last completions may still be running, on any of the lanes: what these are given now comes behind them.
  for (auto& rail : rails_) {
    rail->lane().Run([self = shared_from_this()] {
      if (self->rails_finished_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      self->home_lane_.Run([self] { self->Finish(); });
    });
  }
}

void SessionImpl::Finish() {
  const absl::Status why = status();
  choice_.Leave();
  EndHandler handler;
  OpenCallback opened;
  std::vector<Completion> closers;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    finished_ = true;
    handler = std::move(end_handler_);
    end_handler_ = nullptr;
    opened = std::move(opened_);
    opened_ = nullptr;
    closers.swap(closers_);
  }
  if (opened) std::move(opened)(why);
  for (Completion& closer : closers) RunCloser(std::move(closer));
  if (handler) std::move(handler)(why);
  host_.Reclaim(this);
}

void SessionImpl::Close(Completion completion) {
  bool opening = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) {
      home_lane_.Run([self = shared_from_this(), completion = std::move(completion)]() mutable {
        self->RunCloser(std::move(completion));
      });
      return;
    }
    closers_.push_back(std::move(completion));
    Phase open = Phase::kOpen;
    opening = !phase_.compare_exchange_strong(open, Phase::kClosing) && open == Phase::kOpening;
  }
  if (opening) return Fail(absl::CancelledError("the session was closed"));
  home_lane_.Run([self = shared_from_this()] { self->CloseIfDrained(); });
}

void SessionImpl::RunCloser(Completion completion) {
  Result result;
  if (!closed_cleanly_) result.status = status();
  std::move(completion)(std::move(result));
}

// The peer learns of the close in its turn, behind everything that was sent; its acknowledgement ends the session.
void SessionImpl::CloseIfDrained() {
  if (ended() || close_sent_) return;
  if (Outstanding() != 0) {
    // Two lanes whose last operations end at once may each miss that the other's has.
    home_lane_.TickByOnLane(home_lane_.now_ns() + kDeadlineTickNs);
    return;
  }
  close_sent_ = true;
  Operation* close = home().NewFrame(FrameType::kClose);
  close->payload = reinterpret_cast<const std::byte*>(kCloseReason.data());
  close->payload_bytes = kCloseReason.size();
  home().EnqueueOnLane(close);
}

void SessionImpl::OnCloseAcknowledged() {
  closed_cleanly_ = true;
  Fail(absl::CancelledError("the session was closed"));
}

void SessionImpl::OnPeerClose() {
  peer_closed_.store(true, std::memory_order_release);
  home().RequestAck();
}

absl::Status SessionImpl::status() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return end_status_;
}

void SessionImpl::OnEnd(EndHandler handler) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_) {
    end_handler_ = std::move(handler);
    return;
  }
  home_lane_.Run([handler = std::move(handler), status = end_status_]() mutable { std::move(handler)(status); });
}

int64_t SessionImpl::OnHomeTick() {
  const int64_t now = home_lane_.now_ns();
  if (home_deadlines_) ExpireOnHome();
  const bool closing = phase_.load(std::memory_order_relaxed) == Phase::kClosing && !close_sent_;
  if (closing) CloseIfDrained();
  const int64_t next = home_deadlines_ || closing ? now + kDeadlineTickNs : std::numeric_limits<int64_t>::max();
  if (options_.idle_timeout.count() == 0 || ended()) return next;
  const uint64_t activity = Activity();
  if (activity != last_activity_ || Outstanding() != 0 || idle_since_ns_ == 0) {
    last_activity_ = activity;
    idle_since_ns_ = now;
  }
  const int64_t idle_ends_ns = idle_since_ns_ + options_.idle_timeout.count() * kNsPerMs;
  if (now < idle_ends_ns) return std::min(next, idle_ends_ns);
  Close([](Result) {});
  return next;
}

// Grows with everything that is done on the session, by either side.
uint64_t SessionImpl::Activity() const {
  const SessionStatistics statistics = Statistics();
  return statistics.operations_completed + statistics.payload_bytes_received + statistics.payload_bytes_sent;
}

SessionDescription SessionImpl::Describe() const {
  SessionDescription description;
  description.peer = peer_;
  description.fallbacks = host_.Fallbacks();
  const std::lock_guard<std::mutex> lock(mutex_);
  description.rails.assign(descriptions_.begin(), descriptions_.begin() + rail_count_);
  for (uint16_t i = 0; i < rail_count_; ++i) {
    std::string note = NearnessNote(i);
    if (!note.empty()) description.rails[i].notes.push_back(std::move(note));
  }
  return description;
}

SessionStatistics SessionImpl::Statistics() const {
  SessionStatistics statistics;
  statistics.memory_bytes = sizeof(SessionImpl);
  for (const auto& rail : rails_) {
    const RailCounters& counters = rail->counters();
    statistics.operations_completed += counters.operations_completed.load(std::memory_order_relaxed);
    statistics.operations_failed += counters.operations_failed.load(std::memory_order_relaxed);
    statistics.payload_bytes_sent += counters.payload_bytes_sent.load(std::memory_order_relaxed);
    statistics.payload_bytes_received += counters.payload_bytes_received.load(std::memory_order_relaxed);
    statistics.wire_bytes_sent += counters.wire_bytes_sent.load(std::memory_order_relaxed);
    statistics.retransmitted_tiles += counters.retransmitted_tiles.load(std::memory_order_relaxed);
    statistics.checksum_failures += counters.checksum_failures.load(std::memory_order_relaxed);
    statistics.reconnections += counters.reconnections.load(std::memory_order_relaxed);
    statistics.announced_transfers += counters.announced_transfers.load(std::memory_order_relaxed);
    statistics.memory_bytes += counters.memory_bytes.load(std::memory_order_relaxed);
  }
  statistics.path_retransmits = PathRetransmits();
  statistics.hedged_messages = hedged_messages_.load(std::memory_order_relaxed);
  statistics.hedges_won = hedges_won_.load(std::memory_order_relaxed);
  statistics.eager_transfers = eager_limit_.admitted();
  const ProtocolTally tally = choice_.tally();
  statistics.bulk_transfers = tally.bulk;
  statistics.stream_transfers = tally.stream;
  statistics.protocol_switches = tally.switches;
  statistics.protocol_probes = tally.probes;
  return statistics;
}

// What one device counts is told to all rails that go by it: that of the one that has heard most of it.
uint64_t SessionImpl::PathRetransmits() const {
  uint64_t sum = 0;
  for (const auto& rail : rails_) {
    const uint64_t counter = rail->counters().path_counter.load(std::memory_order_relaxed);
    uint64_t most = rail->counters().path_retransmits.load(std::memory_order_relaxed);
    bool counted = false;
    for (const auto& other : rails_) {
      if (counter == 0 || other->counters().path_counter.load(std::memory_order_relaxed) != counter) continue;
      counted |= other->index() < rail->index();
      most = std::max(most, other->counters().path_retransmits.load(std::memory_order_relaxed));
    }
    if (!counted) sum += most;
  }
  return sum;
}

}  // namespace mcp::internal
