#include "lib/protocol/receiver.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/protocol/transition.h"

namespace mcp::internal {
namespace {

using S = ReceiverState;
using E = ReceiverEvent;

constexpr Transition<S, E> kBulkTable[] = {
    {S::kOpen, E::kCommit, S::kVerifying},
    {S::kVerifying, E::kCommit, S::kVerifying},  // asked again meanwhile
    {S::kVerifying, E::kChecked, S::kOpen},
    {S::kVerifying, E::kComplete, S::kDone},
};

constexpr Transition<S, E> kStreamTable[] = {
    {S::kOpen, E::kComplete, S::kDone},
};

Report MakeReport(const TransferPlan& plan, const ChunkSet& arrived, uint32_t question, uint32_t credit_end) {
  Report report;
  report.generation = plan.generation;
  report.question = question;
  report.first_missing = arrived.NextMissing(0);
  report.arrived_beyond = arrived.Window(report.first_missing);
  report.credit_end = std::min(plan.chunks(), credit_end);
  report.complete = arrived.full();
  return report;
}

absl::Status CheckQuestion(const TransferPlan& plan, uint32_t question) {
  if (question != 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("transfer ", plan.transfer, ": question 0"));
}

}  // namespace

BulkReceiver::BulkReceiver(const TransferPlan& plan)
    : plan_(plan), arrived_(plan.chunks(), false), unverified_(plan.chunks(), false) {
  MCP_ASSERT(CheckPlan(plan).ok());
}

absl::Status BulkReceiver::OnCommit(uint32_t generation, uint32_t question) {
  if (generation != plan_.generation) return absl::OkStatus();
  if (absl::Status status = CheckQuestion(plan_, question); !status.ok()) return status;
  if (question < question_) return absl::OkStatus();  // overtaken on the way
  question_ = question;
  if (state_ == S::kDone) {
    report_ = true;  // the last report was lost
    return absl::OkStatus();
  }
  // Asked again while checks are out: these chunks may have been written again since, but what was found intact is.
  if (state_ == S::kOpen) {
    for (uint32_t chunk = arrived_.NextMissing(0); chunk < arrived_.size(); chunk = arrived_.NextMissing(chunk + 1)) {
      unverified_.Add(chunk);
    }
  }
  Move(kBulkTable, &state_, E::kCommit);
  return absl::OkStatus();
}

bool BulkReceiver::NextToVerify(uint32_t* chunk) {
  if (state_ != S::kVerifying || unverified_.empty()) return false;
  *chunk = unverified_.Next(0);
  unverified_.Remove(*chunk);
  ++checks_out_;
  return true;
}

void BulkReceiver::OnVerified(uint32_t chunk, bool intact) {
  MCP_ASSERT(checks_out_ > 0);
  --checks_out_;
  if (intact) arrived_.Add(chunk);
  if (checks_out_ > 0 || !unverified_.empty()) return;
  Move(kBulkTable, &state_, arrived_.full() ? E::kComplete : E::kChecked);
  report_ = true;
}

Report BulkReceiver::Make() const { return MakeReport(plan_, arrived_, question_, plan_.chunks()); }

bool BulkReceiver::NextReport(Report* report) {
  if (!report_) return false;
  report_ = false;
  *report = Make();
  return true;
}

Report BulkReceiver::Resume(uint32_t generation) {
  MCP_ASSERT(generation > plan_.generation && checks_out_ == 0);
  plan_.generation = generation;
  question_ = 0;
  report_ = false;
  return Make();
}

StreamReceiver::StreamReceiver(const TransferPlan& plan, bool in_order, uint32_t buffered_max)
    : plan_(plan),
      in_order_(in_order),
      buffered_max_(buffered_max),
      arrived_(plan.chunks(), false),
      undelivered_(plan.chunks(), false) {
  MCP_ASSERT(CheckPlan(plan).ok() && buffered_max > 0);
}

uint32_t StreamReceiver::initial_credit_end() const { return std::min(plan_.chunks(), buffered_max_); }

absl::Status StreamReceiver::OnChunk(uint32_t generation, uint32_t chunk, bool intact) {
  if (generation != plan_.generation) return absl::OkStatus();
  if (chunk >= plan_.chunks() || chunk >= delivered_ + buffered_max_) {
    return absl::InvalidArgumentError(absl::StrCat("transfer ", plan_.transfer, ": chunk ", chunk, " of ",
                                                   plan_.chunks(), ", credit ends at ", delivered_ + buffered_max_));
  }
  if (!intact) {
    report_ = true;  // its absence will be seen by what follows it
    return absl::OkStatus();
  }
  if (arrived_.Add(chunk)) {
    undelivered_.Add(chunk);
    undelivered_from_ = std::min(undelivered_from_, chunk);
  }
  first_missing_ = arrived_.NextMissing(first_missing_);
  const bool gap = arrived_.count() != first_missing_;
  if (++unreported_ >= kReportEvery || gap || arrived_.full()) report_ = true;
  return absl::OkStatus();
}

absl::Status StreamReceiver::OnQuery(uint32_t generation, uint32_t question) {
  if (generation != plan_.generation) return absl::OkStatus();
  if (absl::Status status = CheckQuestion(plan_, question); !status.ok()) return status;
  question_ = std::max(question_, question);
  report_ = true;
  return absl::OkStatus();
}

bool StreamReceiver::NextToDeliver(uint32_t* chunk) {
  const uint32_t next = undelivered_.Next(undelivered_from_);
  if (next >= undelivered_.size() || (in_order_ && next != delivered_)) return false;
  undelivered_.Remove(next);
  undelivered_from_ = next + 1;
  *chunk = next;
  if (++delivered_ == plan_.chunks()) Move(kStreamTable, &state_, E::kComplete);
  // The sender may be waiting for this credit.
  if (delivered_ % std::max(1u, buffered_max_ / 2) == 0) report_ = true;
  return true;
}

Report StreamReceiver::Make() const { return MakeReport(plan_, arrived_, question_, delivered_ + buffered_max_); }

bool StreamReceiver::NextReport(Report* report) {
  if (!report_) return false;
  report_ = false;
  unreported_ = 0;
  *report = Make();
  return true;
}

Report StreamReceiver::Resume(uint32_t generation) {
  MCP_ASSERT(generation > plan_.generation);
  plan_.generation = generation;
  question_ = 0;
  report_ = false;
  return Make();
}

}  // namespace mcp::internal
