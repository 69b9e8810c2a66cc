// Messages by two rails at once, from launch to the end of their second copy.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {

// Longer messages land where they belong once; a second copy would have to be discarded after it has landed.
bool SessionImpl::Hedges(uint64_t bytes) const { return peer_hedges_ && rail_count_ > 1 && bytes <= eager_bytes_max_; }

// Beside the first: the next that is up, or else one that is to come back.
Rail* SessionImpl::SecondForHedge() {
  Rail* away = nullptr;
  for (uint32_t i = 0; i + 1 < rail_count_; ++i) {
    Rail* const rail = rails_[1 + (next_hedge_ + i) % (rail_count_ - 1)].get();
    if (rail->TakesWork()) return rail;
    if (rail->relied_on()) away = rail;
  }
  return away;
}

// With as many copies under way as the receiver can tell apart, or without a second rail yet, the message goes once.
void SessionImpl::LaunchHedge(Operation* operation) {
  Rail* const second = SecondForHedge();
  if (hedges_sent_.Holds(next_hedge_) || second == nullptr) {
    operation->type = FrameType::kEager;
    return home().EnqueueOnLane(operation);
  }
  Hedge* hedge = home_lane_.hedges().Get();
  hedge->pool = &home_lane_.hedges();
  hedge->copies_left.store(2, std::memory_order_relaxed);
  hedge->answered.store(false, std::memory_order_relaxed);
  hedge->number = next_hedge_++;
  hedge->tag = operation->words[0];
  hedge->bytes = operation->payload_bytes;
  hedge->id = operation->id;
  hedge->completion = std::move(operation->completion);
  if (hedge->capacity < hedge->bytes) {
    hedge->payload = std::make_unique_for_overwrite<std::byte[]>(eager_bytes_max_);
    hedge->capacity = eager_bytes_max_;
  }
  if (hedge->bytes > 0) std::memcpy(hedge->payload.get(), operation->payload, hedge->bytes);
  operation->region->Unreference(home_lane_.shard());
  home_lane_.operations().Return(operation);
  hedges_sent_.Flip(hedge->number);
  hedges_under_way_.fetch_add(1, std::memory_order_relaxed);
  hedged_messages_.store(hedged_messages_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  EnqueueCopy(home(), hedge);
  if (second->lane().OnThisLane()) return EnqueueCopy(*second, hedge);
  Submission submission;
  submission.kind = Submission::Kind::kHedgeCopy;
  submission.rail = second;
  submission.hedge_copy = hedge;
  second->lane().SubmitAlways(std::move(submission));
}

void SessionImpl::EnqueueCopy(Rail& rail, Hedge* hedge) {
  Operation* copy = rail.NewFrame(FrameType::kHedged);
  copy->words[0] = hedge->tag;
  copy->words[1] = hedge->number;
  copy->payload = hedge->payload.get();
  copy->payload_bytes = hedge->bytes;
  copy->hedge = hedge;
  rail.EnqueueOnLane(copy);
}

// The first copy that is acknowledged completes the message; where none is, the last says why.
void SessionImpl::FinishCopy(Rail& rail, Hedge* hedge, const absl::Status& status) {
  if (status.ok() && !hedge->answered.exchange(true, std::memory_order_acq_rel)) {
    if (rail.index() != 0) hedges_won_.fetch_add(1, std::memory_order_relaxed);
    Lane::Ended ended{&rail, std::move(hedge->completion), status, hedge->bytes, 0, hedge->id};
    Complete(ended);
  }
  if (hedge->copies_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (!hedge->answered.exchange(true, std::memory_order_acq_rel)) {
    Lane::Ended ended{&rail, std::move(hedge->completion), status, 0, 0, hedge->id};
    Complete(ended);
  }
  hedges_sent_.Flip(hedge->number);
  hedge->completion = nullptr;
  hedge->pool->Return(hedge);
  hedges_under_way_.fetch_sub(1, std::memory_order_release);  // the session may end from here on
}

// False: the peer broke the protocol.
bool SessionImpl::OnHedged(Rail& rail, const Frame& frame, const std::byte* payload) {
  if (!hedges_taken_.Flip(frame.hedged.number)) return true;
  const uint64_t bytes = frame.payload_bytes;
  const uint64_t tag = frame.hedged.tag;
  if (home_lane_.OnThisLane()) {
    DeliverEager(tag, payload, bytes);
    return true;
  }
  // Rarely this copy: the home rail is behind. What a peer may have on its way between two lanes is bounded by its
  // credit, as what waits to be matched is.
  const uint64_t cost = MessageCost(FrameType::kHedged, bytes);
  const uint64_t crossing = hedges_crossing_bytes_.fetch_add(cost, std::memory_order_relaxed) + cost;
  if (crossing > kEagerCreditBytes) {
    hedges_crossing_bytes_.fetch_sub(cost, std::memory_order_relaxed);
    FailViolation(rail,
                  absl::StrCat("hedged messages of ", crossing, " bytes exceed the credit of ", kEagerCreditBytes));
    return false;
  }
  auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes);
  if (bytes > 0) std::memcpy(copy.get(), payload, bytes);
  home_lane_.Run([self = shared_from_this(), copy = std::move(copy), tag, bytes, cost] {
    self->hedges_crossing_bytes_.fetch_sub(cost, std::memory_order_relaxed);
    if (!self->ended()) self->DeliverEager(tag, copy.get(), bytes);
  });
  return true;
}

}  // namespace mcp::internal
