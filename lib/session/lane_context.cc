#include "lib/session/lane_context.h"

namespace mcp::internal {

Advisor& LaneContext::advisor() {
  if (advisor_ == nullptr) {
    decisions_ = std::make_unique<DecisionTrace>(kDecisionsKept);
    advisor_ = std::make_unique<Advisor>(AdvisorOptions(), policy_, decisions_.get());
    advisor_->SetTraining(training_);
  }
  return *advisor_;
}

void LaneContext::SetTraining(const TrainingContext& training) {
  training_ = training;
  if (advisor_ != nullptr) advisor_->SetTraining(training);
}

std::vector<std::string> LaneContext::Decisions() const {
  std::vector<std::string> lines;
  if (decisions_ == nullptr) return lines;
  for (const DecisionEvent& event : decisions_->Events()) lines.push_back(FormatDecision(event));
  return lines;
}

}  // namespace mcp::internal
