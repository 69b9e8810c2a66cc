// The half of a rail that needs no frames: work that this side's device does alone.
//
// Budget of a small put: one entry of the batch; no header, checksum or acknowledgement, and nothing at the peer. The
// device completes in the order of posting, so that one event ends all work before it.
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {

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

// Also on the way down: what was done before the end is done.
void Rail::OnDone(const Event& event) {
  const auto last = static_cast<uint32_t>(event.work_id);
  // Completions may enqueue and post more, which goes behind these.
  while (!one_sided_.empty() && !SequenceBefore(last, one_sided_.front()->sequence)) {
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
