// Operations at the door: admission, the choice of a rail, and the way to the lane; and how every operation ends.
#include <utility>

#include "absl/base/attributes.h"
#include "absl/strings/str_cat.h"
#include "lib/base/units.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

// Operation names: who counts the operation, then a number. Rails are 1 to kRailsMax.
constexpr int kNumberBits = 48;
constexpr uint64_t kHomeNames = uint64_t{0xff} << kNumberBits;

uint64_t RailNames(uint16_t rail) { return (uint64_t{rail} + 1) << kNumberBits; }

bool CountedByHome(OperationId id) { return (id >> kNumberBits) == (kHomeNames >> kNumberBits); }

}  // namespace

absl::Status SessionImpl::TooMuchInFlight() {
  return absl::ResourceExhaustedError("too much in flight on this session");
}

absl::Status SessionImpl::WhyNotAdmitted() const {
  if (ended()) return status();
  if (phase_.load(std::memory_order_acquire) == Phase::kClosing) {
    return absl::CancelledError("the session is closing");
  }
  return absl::FailedPreconditionError("the session is not open yet");
}

int64_t SessionImpl::DeadlineOf(std::chrono::milliseconds timeout) const {
  if (timeout.count() == 0) return 0;
  return home_lane_.clock().NowNs() + timeout.count() * kNsPerMs;
}

uint32_t SessionImpl::NextRailIndex() { return next_rail_.fetch_add(1, std::memory_order_relaxed) % rail_count_; }

// One that is up and lives on the lane that this thread drives, those of a lane in turn or by nearness; null where
// there is none. Other lanes' memory is not looked at, since these write theirs all the time: rail i lives on lane
// (home + i) % lanes.
Rail* SessionImpl::OwnRail(const RegionImpl& region, uint64_t length) {
  const Lane* const lane = Lane::Current() != nullptr ? Lane::Current() : &home_lane_;
  const uint32_t home = home_lane_.index();
  const uint32_t first = lane->index() >= home ? lane->index() - home : lane->index() + lane_count_ - home;
  if (first >= rail_count_ || !rails_[first]->lane().OnThisLane()) return nullptr;
  if (first + lane_count_ >= rail_count_) return rails_[first]->TakesWork() ? rails_[first].get() : nullptr;
  if (const RailMask near = NearTo(region); ABSL_PREDICT_FALSE(near != 0)) {
    if (Rail* const rail = LeastLoaded(near, length, first, lane_count_); rail != nullptr) return rail;
  }
  const uint32_t rails = (rail_count_ - first + lane_count_ - 1) / lane_count_;
  for (uint32_t i = 0; i < rails; ++i) {
    Rail* const rail = rails_[first + rails_[first]->NextTurnOnLane() % rails * lane_count_].get();
    if (rail->TakesWork()) return rail;
  }
  return nullptr;
}

// The caller's own lane where it is one of ours: to cross to another costs more than a device that is farther. Takes a
// place on it; null when there is none.
Rail* SessionImpl::ChooseRail(Work* work, bool* own) {
  Rail* const rail = OwnRail(*work->local.region, work->local.length);
  if (rail == nullptr) return ChooseOtherRail(work, own);
  if (!rail->places().Take(true, outstanding_max_per_rail_)) return nullptr;
  work->id = RailNames(rail->index()) | rail->places().NextNumber(true);
  *own = true;
  return rail;
}

// One of another lane, in turn or by nearness; or else, where none is up or none that is has room, one that is away:
// the operation waits for it to come back. One that was never connected may never be.
ABSL_ATTRIBUTE_NOINLINE Rail* SessionImpl::ChooseOtherRail(Work* work, bool* own) {
  const uint32_t limit = outstanding_max_per_rail_;
  OperationId* const id = &work->id;
  if (const RailMask near = NearTo(*work->local.region); near != 0) {
    Rail* const rail = LeastLoaded(near, work->local.length, 0, 1);
    if (rail != nullptr && rail->places().Take(false, limit)) {
      *id = RailNames(rail->index()) | rail->places().NextNumber(false);
      return rail;
    }
  }
  const uint32_t first = rail_count_ == 1 ? 0 : NextRailIndex();
  for (uint32_t i = 0; i < rail_count_; ++i) {
    Rail& rail = *rails_[(first + i) % rail_count_];
    if (!rail.TakesWork() || !rail.places().Take(false, limit)) continue;
    *id = RailNames(rail.index()) | rail.places().NextNumber(false);
    return &rail;
  }
  for (uint32_t i = 0; i < rail_count_; ++i) {
    Rail& rail = *rails_[(first + i) % rail_count_];
    const bool ours = rail.lane().OnThisLane();
    if (rail.up() || !rail.relied_on() || !rail.places().Take(ours, limit)) continue;
    *id = RailNames(rail.index()) | rail.places().NextNumber(ours);
    *own = ours;
    return &rail;
  }
  return nullptr;
}

bool SessionImpl::TakeHomePlace(bool own, OperationId* id) {
  if (!home_places_.Take(own, options_.outstanding_max)) return false;
  *id = kHomeNames | home_places_.NextNumber(own);
  return true;
}

void SessionImpl::GivePlaceBack(OperationId id) {
  if (CountedByHome(id)) return home_places_.GiveBack(home_lane_.OnThisLane());
  Rail& rail = *rails_[(id >> kNumberBits) - 1];
  rail.places().GiveBack(rail.lane().OnThisLane());
}

Submission SessionImpl::MakeSubmission(Submission::Kind kind, Rail& rail, const Work& work, Completion&& completion) {
  Submission submission;
  submission.kind = kind;
  submission.rail = &rail;
  submission.local = work.local.data;
  submission.length = work.local.length;
  submission.key = work.remote.key;
  submission.offset = work.remote.offset;
  submission.window = work.remote.window;
  submission.region = work.local.region;
  submission.id = work.id;
  submission.deadline_ns = work.deadline_ns;
  submission.completion = std::move(completion);
  return submission;
}

// What this thread counts references by: its lane's where that is one of this engine's, not of another's whose
// completion runs here.
uint32_t SessionImpl::ShardHere() const {
  const Lane* const lane = Lane::Current();
  const bool ours = lane != nullptr && lane->index() < lane_count_ && &host_.lane(lane->index()) == lane;
  return ours ? lane->shard() : 0;
}

// By the queue of the rail's lane; when that is full nothing was accepted.
absl::StatusOr<OperationId> SessionImpl::Submit(Submission& submission) {
  const OperationId id = submission.id;
  RegionImpl* const region = submission.region;
  const uint32_t shard = ShardHere();
  region->Reference(shard);
  if (submission.rail->lane().Submit(std::move(submission))) return id;
  region->Unreference(shard);
  GivePlaceBack(id);
  return TooMuchInFlight();
}

ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<OperationId> SessionImpl::SubmitOneSided(Submission::Kind kind, Rail& rail,
                                                                                const Work& work,
                                                                                Completion&& completion) {
  Submission submission = MakeSubmission(kind, rail, work, std::move(completion));
  return Submit(submission);
}

absl::StatusOr<OperationId> SessionImpl::Send(uint64_t tag, Work& work, Completion&& completion,
                                              const OperationOptions& options) {
  if (ABSL_PREDICT_FALSE(!admits())) return WhyNotAdmitted();
  const bool own = home_lane_.OnThisLane();
  if (!TakeHomePlace(own, &work.id)) return TooMuchInFlight();
  work.deadline_ns = DeadlineOf(options.timeout.count() != 0 ? options.timeout : options_.operation_timeout);
  if (own) {
    work.local.region->Reference(home_lane_.shard());
    StartSend(tag, work, options.hedge, std::move(completion));
    return work.id;
  }
  Submission submission = MakeSubmission(Submission::Kind::kSend, home(), work, std::move(completion));
  submission.tag = tag;
  submission.hedge = options.hedge;
  return Submit(submission);
}

absl::StatusOr<OperationId> SessionImpl::Receive(uint64_t tag, Work& work, Completion&& completion,
                                                 ReceiveOptions&& options) {
  if (ABSL_PREDICT_FALSE(!admits())) return WhyNotAdmitted();
  const bool own = home_lane_.OnThisLane();
  if (!TakeHomePlace(own, &work.id)) return TooMuchInFlight();
  work.deadline_ns = DeadlineOf(options.timeout);
  std::unique_ptr<ChunkDelivery> chunks;
  if (options.on_chunk) {
    chunks = std::make_unique<ChunkDelivery>(std::move(options.on_chunk), options.chunks_in_order);
  }
  if (own) {
    work.local.region->Reference(home_lane_.shard());
    StartReceive(tag, options.tag_mask, work, std::move(chunks), std::move(completion));
    return work.id;
  }
  Submission submission = MakeSubmission(Submission::Kind::kReceive, home(), work, std::move(completion));
  submission.tag = tag;
  submission.tag_mask = options.tag_mask;
  submission.chunks = std::move(chunks);
  return Submit(submission);
}

bool SessionImpl::TakeNotice(Submission& submission) {
  Rail& rail = *submission.rail;
  SessionImpl& session = rail.session();
  Landing* landing = submission.landing;
  switch (submission.kind) {
    case Submission::Kind::kLandingDone:
      if (landing->key == submission.key) rail.CloseLanding(landing, absl::OkStatus());
      return true;
    case Submission::Kind::kLandingChunk:
      if (landing->key == submission.key) session.TakeLanded(rail, landing, submission.offset, submission.length);
      return true;
    case Submission::Kind::kPieceDone:
      session.OnPieceDone(rail, submission.transfer, submission.offset, submission.length);
      return true;
    case Submission::Kind::kTransferDone:
      session.FinishTransfer(session.home(), submission.transfer);
      return true;
    default:
      return false;
  }
}

// On the lane that the submission was for.
void SessionImpl::Take(Lane& lane, Submission& submission) {
  if (TakeNotice(submission)) return;
  Rail& rail = *submission.rail;
  SessionImpl& session = rail.session();
  if (submission.kind == Submission::Kind::kPart) {
    const Part part{submission.transfer,    submission.local,
                    submission.length,      {submission.key, submission.offset, submission.window},
                    submission.deadline_ns, submission.way};
    if (!session.ended()) return session.EnqueuePart(rail, part);
    return session.FinishPart(rail, part.transfer, part.remote.offset, part.length, session.status());
  }
  if (submission.kind == Submission::Kind::kHedgeCopy) return session.EnqueueCopy(rail, submission.hedge_copy);
  if (session.ended()) {
    submission.region->Unreference(lane.shard());
    return lane.CompleteLaterOnLane({&rail, std::move(submission.completion), session.status(), 0, 0, submission.id});
  }
  const Work work{{submission.region, const_cast<std::byte*>(submission.local), submission.length},
                  {submission.key, submission.offset, submission.window},
                  submission.id,
                  submission.deadline_ns};
  Completion& completion = submission.completion;
  switch (submission.kind) {
    case Submission::Kind::kWrite:
    case Submission::Kind::kGet:
      return session.TakeOneSided(submission.kind, rail, work, std::move(completion));
    case Submission::Kind::kSend:
      return session.StartSend(submission.tag, work, submission.hedge, std::move(completion));
    case Submission::Kind::kReceive:
      return session.StartReceive(submission.tag, submission.tag_mask, work, std::move(submission.chunks),
                                  std::move(completion));
    default:
      return;
  }
}

absl::Status SessionImpl::Cancel(OperationId id) {
  const uint64_t owner = id >> kNumberBits;
  const absl::Status cancelled = absl::CancelledError("the operation was cancelled");
  if (CountedByHome(id)) {
    home_lane_.Run([self = shared_from_this(), id, cancelled] {
      if (self->CancelOnHome(id, cancelled)) return;
      for (auto& rail : self->rails_) {
        rail->lane().Run([self, &rail, id, cancelled] { rail->CancelOnLane(id, cancelled); });
      }
    });
    return absl::OkStatus();
  }
  if (owner == 0 || owner > rail_count_) {
    return absl::InvalidArgumentError(absl::StrCat("operation ", id, " is not one of this session"));
  }
  // Parts of a striped operation lie on every rail.
  for (auto& rail : rails_) {
    rail->lane().Run([self = shared_from_this(), &rail, id, cancelled] { rail->CancelOnLane(id, cancelled); });
  }
  return absl::OkStatus();
}

void SessionImpl::GiveUp(OperationId id, uint64_t key) {
  if (!CountedByHome(id) || ended()) return;
  home_lane_.Run([self = shared_from_this(), key] {
    if (!self->ended()) self->Abandon(self->home(), key);
  });
}

void SessionImpl::CountEnded(Lane& lane, FrameType type, OperationId id, uint64_t bytes) {
  if (!CountedByHome(id) || !eager_limit_.Decides(bytes)) return;
  if (type == FrameType::kEager) return eager_limit_.EndWhole(bytes, lane.now_ns());
  if (type == FrameType::kRequest) eager_limit_.Granted(bytes);
  eager_limit_.End(bytes, lane.now_ns());
}

void SessionImpl::FinishOperation(Rail& rail, Operation* operation, const absl::Status& status) {
  Lane& lane = rail.lane();
  const uint64_t bytes = operation->payload_bytes;
  if (ABSL_PREDICT_FALSE(operation->hedge != nullptr)) {
    Hedge* hedge = operation->hedge;
    lane.operations().Return(operation);
    return FinishCopy(rail, hedge, status);
  }
  if (operation->transfer != nullptr) {
    Transfer* transfer = operation->transfer;
    const uint64_t offset = operation->words[1];
    lane.operations().Return(operation);
    return FinishPart(rail, transfer, offset, bytes, status);
  }
  if (operation->type == FrameType::kTile && CountedByHome(operation->id)) {
    rail.AddCarried(-static_cast<int64_t>(bytes));
    if (!status.ok()) GiveUp(operation->id, operation->words[0]);
  }
  CountEnded(lane, operation->type, operation->id, bytes);
  if (operation->region != nullptr) operation->region->Unreference(lane.shard());
  if (operation->source_slot != Operation::kNoSlot) {
    lane.regions().Unpin(operation->source_slot);
    answering_.fetch_sub(1, std::memory_order_relaxed);
  }
  const OperationId id = operation->id;
  if (operation->type == FrameType::kClose && status.ok()) OnCloseAcknowledged();
  Completion completion = std::move(operation->completion);
  lane.operations().Return(operation);
  if (id == 0) return;
  Lane::Ended ended{&rail, std::move(completion), status, status.ok() ? bytes : 0, 0, id};
  Complete(ended);
}

void SessionImpl::FinishSmall(Rail& rail, Operation* operation) {
  if (operation->type == FrameType::kPut) return FinishHere(rail, rail.places(), operation);
  CountEnded(rail.lane(), operation->type, operation->id, operation->payload_bytes);
  FinishHere(rail, home_places_, operation);
}

// FinishOperation for what is done, of which there is much: its place is this lane's, and the completion runs where it
// lies. The operation serves again only when that has returned.
void SessionImpl::FinishHere(Rail& rail, PlaceCounter& places, Operation* operation) {
  Lane& lane = rail.lane();
  operation->region->Unreference(lane.shard());
  RailCounters::Add(rail.counters().operations_completed, 1);
  places.GiveBack(true);
  std::move(operation->completion)({absl::OkStatus(), operation->payload_bytes, 0, operation->id});
  operation->completion = nullptr;
  lane.operations().Return(operation);
  CloseIfClosing();
}

void SessionImpl::Complete(Lane::Ended& ended) {
  RailCounters& counters = ended.rail->counters();
  RailCounters::Add(ended.status.ok() ? counters.operations_completed : counters.operations_failed, 1);
  GivePlaceBack(ended.id);
  Result result;
  result.status = std::move(ended.status);
  result.bytes = ended.bytes;
  result.tag = ended.tag;
  result.operation = ended.id;
  std::move(ended.completion)(std::move(result));
  CloseIfClosing();
}

void SessionImpl::CloseSoonIfDrained() {
  if (Outstanding() == 0) home_lane_.Run([self = shared_from_this()] { self->CloseIfDrained(); });
}

uint64_t SessionImpl::Outstanding() const {
  int64_t outstanding = home_places_.count();
  for (const auto& rail : rails_) outstanding += rail->places().count();
  return static_cast<uint64_t>(outstanding);
}

}  // namespace mcp::internal
