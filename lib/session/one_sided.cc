// The way of a put or get that this side's device does alone: from the door to the transport, and back to its
// completion.
//
// Budget of a small put: one entry of the batch; no header, checksum or acknowledgement, and nothing at the peer. The
// device completes in the order of posting, so that one event ends all work before it. An operation's first two cache
// lines are all that is looked at. Few calls: each costs a processor little, and an emulated one a look-up.
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {

inline void Rail::CountPlaced(uint64_t bytes) {
  RailCounters::Add(counters_.payload_bytes_sent, bytes);
  RailCounters::Add(counters_.wire_bytes_sent, bytes);
}

// A batch of one. False when the transport refused it.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool Rail::PostAtOnce(Operation* operation) {
  WorkRequest& request = lane_.batch().front();
  BuildOneSided(*operation, next_one_sided_, &request);
  if (ABSL_PREDICT_FALSE(lane_.transport().Post(absl::MakeConstSpan(&request, 1)) == 0)) return false;
  CountPlaced(operation->way == Way::kPlaced ? operation->payload_bytes : 0);
  one_sided_.PushBack(operation);
  ++next_one_sided_;
  return true;
}

// Between rounds, on the thread that drives the lane: something small with next to nothing before it need not wait for
// a round. A burst still gathers behind its first ones, for one doorbell.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Rail::EnqueueOneSidedOnLane(Operation* operation) {
  if (ABSL_PREDICT_FALSE(state_ != State::kUp || operation->deadline_ns != 0)) return EnqueueOnLane(operation);
  const bool at_once = operation->payload_bytes <= kAtOnceBytesMax && one_sided_.size() < kAtOnceMax &&
                       pending_.empty() && replays_ == 0 && !lane_.InRound();
  if (at_once && PostAtOnce(operation)) return;
  pending_.PushBack(operation);
  if (!dirty) lane_.MarkDirtyOnLane(this);
}

// Part of each of its callers: the way from the door to the device is short, and calls would be a good part of it.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void SessionImpl::StartOneSided(Submission::Kind kind, Rail& rail, const Work& work,
                                                                    Completion&& completion) {
  const bool put = kind == Submission::Kind::kWrite;
  if (ABSL_PREDICT_FALSE(!LeftToDevices(work.local.length))) {
    return put ? StartPut(rail, work, std::move(completion)) : StartGet(rail, work, std::move(completion));
  }
  Operation* const operation = NewOperation(rail, FrameType::kTile, work, std::move(completion));
  operation->way = put ? Way::kPlaced : Way::kFetched;
  operation->SetTarget(work.remote.key, work.remote.offset, work.remote.window);
  if (ABSL_PREDICT_FALSE(!IsOneTile(work.local.length))) return StartWrite(rail, operation);
  rail.EnqueueOneSidedOnLane(operation);
}

// What another thread started.
void SessionImpl::TakeOneSided(Submission::Kind kind, Rail& rail, const Work& work, Completion&& completion) {
  StartOneSided(kind, rail, work, std::move(completion));
}

absl::StatusOr<OperationId> SessionImpl::OneSided(Submission::Kind kind, Work& work, Completion&& completion,
                                                  const OperationOptions& options) {
  if (ABSL_PREDICT_FALSE(!admits())) return WhyNotAdmitted();
  bool own = false;
  Rail* const rail = ChooseRail(&work, &own);
  if (ABSL_PREDICT_FALSE(rail == nullptr)) return TooMuchInFlight();
  work.deadline_ns = DeadlineOf(options.timeout.count() != 0 ? options.timeout : options_.operation_timeout);
  if (!own) return SubmitOneSided(kind, *rail, work, std::move(completion));
  work.local.region->Reference(rail->lane().shard());
  StartOneSided(kind, *rail, work, std::move(completion));
  return work.id;
}

absl::StatusOr<OperationId> SessionImpl::Put(Work& work, Completion&& completion, const OperationOptions& options) {
  return OneSided(Submission::Kind::kWrite, work, std::move(completion), options);
}

absl::StatusOr<OperationId> SessionImpl::Get(Work& work, Completion&& completion, const OperationOptions& options) {
  return OneSided(Submission::Kind::kGet, work, std::move(completion), options);
}

// The next batch, where it is one-sided work throughout, as most are: nothing is cut, and what is accepted changes
// lists in one piece. Nothing: frames are among it.
Rail::Run Rail::BuildRun() {
  Run run;
  for (Operation* next = pending_.front(); next != nullptr && run.count < Lane::kBatchMax; next = next->next) {
    if (next->way == Way::kFramed || next->payload_bytes > kTileBytesMax) return {};
    BuildOneSided(*next, next_one_sided_ + run.count, &lane_.batch()[run.count]);
    if (next->way == Way::kPlaced) run.placed_bytes += next->payload_bytes;
    run.last = next;
    ++run.count;
  }
  return run;
}

// False when the transport refused some of it.
bool Rail::PostRun(Run run) {
  const size_t taken = lane_.transport().Post(absl::MakeConstSpan(lane_.batch().data(), run.count));
  const bool refused = taken < run.count;
  if (ABSL_PREDICT_FALSE(refused)) {
    run = Run();
    for (Operation* next = pending_.front(); run.count < taken; next = next->next) {
      if (next->way == Way::kPlaced) run.placed_bytes += next->payload_bytes;
      run.last = next;
      ++run.count;
    }
    if (run.count == 0) return false;
  }
  CountPlaced(run.placed_bytes);
  one_sided_.TakeFront(&pending_, run.last, run.count);
  next_one_sided_ += run.count;
  return !refused;
}

// Also on the way down: what was done before the end is done.
void Rail::OnDone(const Event& event) {
  const uint32_t first = next_one_sided_ - one_sided_.size();
  // Completions may enqueue and post more, which goes behind these.
  for (auto left = static_cast<int32_t>(static_cast<uint32_t>(event.work_id) + 1 - first);
       left > 0 && !one_sided_.empty(); --left) {
    session_.FinishOneSided(*this, one_sided_.PopFront());
  }
  if (!pending_.empty()) lane_.MarkDirtyOnLane(this);
}

void SessionImpl::FinishOneSided(Rail& rail, Operation* operation) {
  Lane& lane = rail.lane();
  RailCounters& counters = rail.counters();
  const uint64_t bytes = operation->payload_bytes;
  if (operation->way == Way::kFetched) RailCounters::Add(counters.payload_bytes_received, bytes);
  if (Transfer* transfer = operation->transfer; transfer != nullptr) {
    const uint64_t offset = operation->words[1];
    lane.operations().Return(operation);
    return FinishPart(rail, transfer, offset, bytes, absl::OkStatus());
  }
  FinishHere(rail, rail.places(), operation);
}

}  // namespace mcp::internal
