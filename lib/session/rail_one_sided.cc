// The half of a rail that needs no frames: work that this side's device does alone.
//
// Budget of a small put: one entry of the batch; no header, checksum or acknowledgement, and nothing at the peer. The
// device completes in the order of posting, so that one event ends all work before it. An operation's first two cache
// lines are all that is looked at.
#include "absl/base/optimization.h"
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {

// Between rounds, on the thread that drives the lane: something small with next to nothing before it need not wait for
// a round. A burst still gathers behind its first ones, for one doorbell.
void Rail::EnqueueOneSidedOnLane(Operation* operation) {
  if (ABSL_PREDICT_FALSE(state_ != State::kUp || operation->deadline_ns != 0)) return EnqueueOnLane(operation);
  const bool at_once =
      operation->payload_bytes <= kAtOnceBytesMax && one_sided_.size() < kAtOnceMax && pending_.empty();
  pending_.PushBack(operation);
  if (at_once && !lane_.InRound()) {
    PostPending();
    if (ABSL_PREDICT_TRUE(!wants_flush())) return;
  }
  if (!dirty) lane_.MarkDirtyOnLane(this);
}

void Rail::BuildOneSided(const Operation& operation, uint32_t number, size_t slot) {
  WorkRequest& request = lane_.batch()[slot];
  request.kind = operation.way == Way::kPlaced ? WorkRequest::Kind::kPlace : WorkRequest::Kind::kFetch;
  request.signaled = false;
  request.may_overtake = false;
  request.connection = connection_;
  request.header_bytes = 0;
  request.payload = operation.payload;
  request.payload_bytes = operation.payload_bytes;
  request.offset = operation.words[1];
  LoadWindow(operation.words + kFrameWindowWord, &request.window);
  request.work_id = number;
  request.registered = RegistrationOf(operation);
}

// The next batch, where it is one-sided work throughout, as most are: nothing is cut, and what is accepted changes
// lists in one piece. Nothing: frames are among it.
Rail::Run Rail::BuildRun() {
  Run run;
  for (Operation* next = pending_.front(); next != nullptr && run.count < Lane::kBatchMax; next = next->next) {
    if (next->way == Way::kFramed || next->payload_bytes > kTileBytesMax) return {};
    BuildOneSided(*next, next_one_sided_ + run.count, run.count);
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
  RailCounters::Add(counters_.payload_bytes_sent, run.placed_bytes);
  RailCounters::Add(counters_.wire_bytes_sent, run.placed_bytes);
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
