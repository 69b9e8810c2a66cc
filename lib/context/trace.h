// Why each transfer travels as it does: the last decisions, with what was predicted for every alternative.
//
// A ring of a fixed number of events; the oldest give way and are counted. For one thread at a time.
#ifndef MCP_LIB_CONTEXT_TRACE_H_
#define MCP_LIB_CONTEXT_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "mcp/context.h"

namespace mcp::internal {

// What made the layer decide anew.
enum class Cause : uint8_t { kFirst, kSamples, kChange, kProbe, kTraining, kQuarantine, kSize };
absl::string_view CauseName(Cause cause);

struct DecisionEvent {
  uint64_t number = 0;  // counts decisions, from 1
  int64_t now_ns = 0;
  uint32_t peer = 0;
  uint64_t bytes = 0;
  TrainingContext training;
  Cause cause = Cause::kFirst;
  Reason reason = Reason::kStart;
  int8_t before = -1;  // indices into predictions; -1: none
  int8_t chosen = -1;
  int8_t probe = -1;
  uint8_t prediction_count = 0;
  Prediction predictions[kAlternativesMax];
};

class DecisionTrace {
 public:
  // A capacity of 0 keeps nothing, and only counts.
  explicit DecisionTrace(size_t capacity) : events_(capacity) {}

  // The place of the next event, to be filled by the caller; null when nothing is kept.
  DecisionEvent* Next() {
    ++count_;
    if (events_.empty()) return nullptr;
    DecisionEvent& event = events_[next_];
    if (++next_ == events_.size()) next_ = 0;
    event.number = count_;
    return &event;
  }

  uint64_t count() const { return count_; }
  // Oldest first, those that are still there.
  std::vector<DecisionEvent> Events() const;

 private:
  std::vector<DecisionEvent> events_;
  size_t next_ = 0;  // count_ % events_.size(), without the division
  uint64_t count_ = 0;
};

// One line: "decision 17: 1 MiB to peer 3: bulk/rail 0 -> stream/rail 0, faster (change): bulk 412.0 us +-3 %, ..."
std::string FormatDecision(const DecisionEvent& event);

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_TRACE_H_
