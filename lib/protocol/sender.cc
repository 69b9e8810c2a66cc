#include "lib/protocol/sender.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/protocol/transition.h"

namespace mcp::internal {
namespace {

using S = SenderState;
using E = SenderEvent;

constexpr Transition<S, E> kTable[] = {
    {S::kSending, E::kAllSent, S::kWaiting},    {S::kSending, E::kMissing, S::kSending},
    {S::kSending, E::kComplete, S::kDone},  // the last copy of a chunk was one too many
    {S::kWaiting, E::kMissing, S::kSending},    {S::kWaiting, E::kComplete, S::kDone},
    {S::kSending, E::kPathLost, S::kSuspended}, {S::kWaiting, E::kPathLost, S::kSuspended},
    {S::kSuspended, E::kResumed, S::kSending},  {S::kSuspended, E::kComplete, S::kDone},
    {S::kSending, E::kGaveUp, S::kFailed},      {S::kWaiting, E::kGaveUp, S::kFailed},
    {S::kSending, E::kCancelled, S::kFailed},   {S::kWaiting, E::kCancelled, S::kFailed},
    {S::kSuspended, E::kCancelled, S::kFailed},
};

}  // namespace

void Sender::Begin(const TransferPlan& plan) {
  MCP_ASSERT(CheckPlan(plan).ok());
  plan_ = plan;
  state_ = S::kSending;
  unsent_.Reset(plan.chunks(), true);
  arrived_.Reset(plan.chunks(), false);
  order_.assign(plan.chunks(), 0);
  next_order_ = 1;
  question_ = question_order_ = answered_ = credit_end_ = 0;
  ask_ = false;
  deadline_ns_ = kNever;
  unanswered_ = 0;
  chunks_resent_ = 0;
}

bool Sender::Happen(SenderEvent event) {
  if (!Move(kTable, &state_, event)) return false;
  if (state_ != S::kSending && state_ != S::kWaiting) deadline_ns_ = kNever;
  return true;
}

WorkItem Sender::Take(uint32_t chunk, WorkKind kind) {
  unsent_.Remove(chunk);
  if (order_[chunk] != 0) ++chunks_resent_;
  order_[chunk] = next_order_++;
  return {.kind = kind,
          .generation = plan_.generation,
          .chunk = chunk,
          .offset = plan_.offset(chunk),
          .length = plan_.length(chunk)};
}

WorkItem Sender::Ask(WorkKind kind, int64_t now_ns) {
  ask_ = false;
  question_order_ = next_order_;
  deadline_ns_ = now_ns + plan_.retry_ns;
  return {.kind = kind, .generation = plan_.generation, .question = ++question_};
}

void Sender::OnArrived(uint32_t chunk, int64_t now_ns) {
  if (state_ != S::kSending && state_ != S::kWaiting) return;
  MCP_ASSERT(order_[chunk] != 0);
  arrived_.Add(chunk);
  unsent_.Remove(chunk);
  unanswered_ = 0;
  deadline_ns_ = now_ns + plan_.retry_ns;
  if (arrived_.full()) Happen(E::kComplete);
}

absl::Status Sender::OnReport(const Report& report, int64_t now_ns) {
  if (report.generation != plan_.generation || state_ == S::kDone || state_ == S::kFailed) return absl::OkStatus();
  const uint32_t chunks = plan_.chunks();
  if (report.first_missing > chunks || report.question > question_ || report.credit_end > chunks ||
      report.complete != (report.first_missing == chunks)) {
    return absl::InvalidArgumentError(absl::StrCat("transfer ", plan_.transfer, ": report with first_missing ",
                                                   report.first_missing, " of ", chunks, ", question ", report.question,
                                                   " of ", question_, ", credit_end ", report.credit_end));
  }
  if (state_ == S::kSuspended) return absl::OkStatus();
  unanswered_ = 0;
  credit_end_ = std::max(credit_end_, report.credit_end);
  const uint32_t arrived_order = MarkArrived(report);
  if (report.complete) {
    Happen(E::kComplete);
    return absl::OkStatus();
  }
  Requeue(report, arrived_order);
  answered_ = std::max(answered_, report.question);
  deadline_ns_ = now_ns + plan_.retry_ns;
  if (!unsent_.empty()) Happen(E::kMissing);
  return absl::OkStatus();
}

// Returns the highest order among the chunks that are known to have arrived.
uint32_t Sender::MarkArrived(const Report& report) {
  uint32_t arrived_order = 0;
  const auto mark = [&](uint32_t chunk) {
    arrived_order = std::max(arrived_order, order_[chunk]);
    arrived_.Add(chunk);
    unsent_.Remove(chunk);
  };
  for (uint32_t chunk = arrived_.NextMissing(0); chunk < report.first_missing; chunk = arrived_.NextMissing(chunk)) {
    mark(chunk);
  }
  for (uint32_t i = 1; i < 64 && report.first_missing + i < plan_.chunks(); ++i) {
    if ((report.arrived_beyond >> i & 1) != 0) mark(report.first_missing + i);
  }
  return arrived_order;
}

// Only what the report speaks of: beyond its bitmap nothing is known.
void Sender::Requeue(const Report& report, uint32_t arrived_order) {
  const bool answered = report.question == question_ && question_ > answered_;
  const uint32_t end = std::min(plan_.chunks(), report.first_missing + 64);
  for (uint32_t chunk = arrived_.NextMissing(report.first_missing); chunk < end;
       chunk = arrived_.NextMissing(chunk + 1)) {
    if (order_[chunk] != 0 && !unsent_.Has(chunk) && IsLost(chunk, arrived_order, answered)) unsent_.Add(chunk);
  }
}

void Sender::OnTimeout(int64_t now_ns) {
  if (now_ns < deadline_ns_) return;
  if (++unanswered_ > plan_.retries_max) {
    Happen(E::kGaveUp);
    return;
  }
  ask_ = true;
  deadline_ns_ = now_ns + plan_.retry_ns;
}

absl::Status Sender::Resume(uint32_t generation, const Report& report, int64_t now_ns) {
  if (generation <= plan_.generation || report.generation != generation) {
    return absl::InvalidArgumentError(absl::StrCat("transfer ", plan_.transfer, ": resumed as generation ", generation,
                                                   " with a report of ", report.generation, " after ",
                                                   plan_.generation));
  }
  if (!Happen(E::kResumed)) return absl::FailedPreconditionError("only a transfer whose path was lost can be resumed");
  plan_.generation = generation;
  question_ = answered_ = 0;
  // Whatever the report does not vouch for is sent again.
  for (uint32_t chunk = 0; chunk < plan_.chunks(); ++chunk) {
    if (!arrived_.Has(chunk)) unsent_.Add(chunk);
  }
  return OnReport(report, now_ns);
}

bool BulkSender::Next(int64_t now_ns, WorkItem* item) {
  if (state_ == S::kSending) {
    const uint32_t chunk = unsent_.Next(0);
    if (chunk < unsent_.size()) {
      *item = Take(chunk, WorkKind::kWrite);
      return true;
    }
    *item = Ask(WorkKind::kCommit, now_ns);
    Happen(E::kAllSent);
    return true;
  }
  if (state_ != S::kWaiting || !ask_) return false;
  *item = Ask(WorkKind::kCommit, now_ns);
  return true;
}

// Nothing is known of a silent write but by the answer to a commit that was sent behind it.
bool BulkSender::IsLost(uint32_t chunk, uint32_t, bool answered) const {
  return answered && order_[chunk] < question_order_;
}

void StreamSender::Begin(const TransferPlan& plan, uint32_t credit_end) {
  Sender::Begin(plan);
  credit_end_ = credit_end;
}

bool StreamSender::NextRun(int64_t now_ns, uint32_t chunks_max, WorkItem* item) {
  if (state_ != S::kSending && state_ != S::kWaiting) return false;
  if (ask_) {
    *item = Ask(WorkKind::kQuery, now_ns);
    return true;
  }
  uint32_t chunk = unsent_.Next(0);
  if (chunk >= unsent_.size() || !MaySend(chunk)) return false;
  *item = Take(chunk, WorkKind::kChunk);
  for (uint32_t taken = 1; taken < chunks_max; ++taken) {
    if (++chunk >= unsent_.size() || !unsent_.Has(chunk) || !MaySend(chunk)) break;
    item->length += Take(chunk, WorkKind::kChunk).length;
  }
  if (deadline_ns_ == kNever) deadline_ns_ = now_ns + plan_.retry_ns;
  if (unsent_.empty()) Happen(E::kAllSent);
  return true;
}

bool StreamSender::IsLost(uint32_t chunk, uint32_t arrived_order, bool answered) const {
  if (answered && order_[chunk] < question_order_) return true;
  return plan_.overtaken_max > 0 && order_[chunk] + plan_.overtaken_max <= arrived_order;
}

}  // namespace mcp::internal
