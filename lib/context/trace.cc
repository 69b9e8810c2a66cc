#include "lib/context/trace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/units.h"
#include "lib/context/log2.h"

namespace mcp::internal {
namespace {

std::string FormatAlternative(const Alternative& alternative) {
  std::string text(ProtocolName(alternative.protocol));
  if (alternative.codec != 0) absl::StrAppend(&text, "+codec", alternative.codec);
  absl::StrAppend(&text, "/rails");
  for (int rail = 0; rail < 16; ++rail) {
    if ((alternative.rails >> rail & 1) != 0) absl::StrAppend(&text, " ", rail);
  }
  return text;
}

std::string FormatPrediction(const Prediction& prediction) {
  const std::string name = FormatAlternative(prediction.alternative);
  if (!prediction.eligible) return name + " not eligible";
  if (prediction.samples == 0) return name + " unknown";
  return absl::StrFormat("%s %.1f us +-%.0f %%", name, Exp2(prediction.log2_cost) / 1000,
                         100 * (Exp2(std::min(prediction.log2_error, 9.9f)) - 1));
}

std::string NameOf(const DecisionEvent& event, int index) {
  return index < 0 ? "nothing" : FormatAlternative(event.predictions[index].alternative);
}

}  // namespace

absl::string_view CauseName(Cause cause) {
  switch (cause) {
    case Cause::kFirst:
      return "first";
    case Cause::kSamples:
      return "samples";
    case Cause::kChange:
      return "change";
    case Cause::kProbe:
      return "probe";
    case Cause::kTraining:
      return "training";
    case Cause::kQuarantine:
      return "quarantine";
    case Cause::kSize:
      return "size";
  }
  return "?";
}

std::vector<DecisionEvent> DecisionTrace::Events() const {
  std::vector<DecisionEvent> events;
  const uint64_t kept = std::min<uint64_t>(count_, events_.size());
  for (uint64_t i = count_ - kept; i < count_; ++i) events.push_back(events_[i % events_.size()]);
  return events;
}

std::string FormatDecision(const DecisionEvent& event) {
  std::string text = absl::StrCat("decision ", event.number, ": ", FormatBytes(event.bytes), " to peer ", event.peer,
                                  ": ", NameOf(event, event.before), " -> ", NameOf(event, event.chosen), ", ",
                                  ReasonName(event.reason), " (", CauseName(event.cause), ")");
  if (event.probe >= 0) absl::StrAppend(&text, ", probing ", NameOf(event, event.probe));
  for (int i = 0; i < event.prediction_count; ++i) {
    absl::StrAppend(&text, i == 0 ? ": " : ", ", FormatPrediction(event.predictions[i]));
  }
  return text;
}

}  // namespace mcp::internal
