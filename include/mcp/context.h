// How each transfer travels, decided from what completions showed; and how to decide otherwise.
//
// For each transfer a session has a few alternatives: a protocol, the rails that carry it, a codec. The context layer
// measures what each costs and asks a Policy which to use. Three policies are built in (MakePolicy); a stack that knows
// better derives its own.
//
// Thread rule: a Policy is asked by one lane at a time, and must not block. One object may serve several lanes only if
// it keeps no state of its own, as the built-in ones don't.
//
// Lifetime: a policy outlives the engine that was given it.
#ifndef MCP_CONTEXT_H_
#define MCP_CONTEXT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mcp/export.h"

namespace mcp {

enum class Protocol : uint8_t {
  kEager,    // the payload travels with its announcement: messages of up to 64 KiB, over verbs 4 KiB
  kBulk,     // one-sided writes of everything, one commit
  kStream,   // chunks with a notification each: the receiver verifies and decodes while the rest is in flight
  kReplica,  // the same bytes over several rails: the first complete copy wins
};
MCP_EXPORT absl::string_view ProtocolName(Protocol protocol);

enum class Phase : uint8_t { kTraining, kValidation, kInference };
MCP_EXPORT absl::string_view PhaseName(Phase phase);

// What the caller knows about the moment.
struct TrainingContext {
  uint32_t worker = 0;
  uint64_t iteration = 0;
  Phase phase = Phase::kTraining;
  // How long a transfer that starts now may take. Zero: as long as it needs.
  std::chrono::nanoseconds deadline{0};
};

struct Alternative {
  Protocol protocol = Protocol::kBulk;
  uint8_t codec = 0;           // 0: exactly the caller's bytes
  uint16_t rails = 1;          // bit i: rail i carries it
  uint64_t bytes_max = ~0ull;  // larger transfers cannot use it

  friend bool operator==(const Alternative&, const Alternative&) = default;
};
inline constexpr uint32_t kAlternativesMax = 8;

// What is expected of one alternative, for one size.
struct Prediction {
  Alternative alternative;
  bool eligible = false;   // it can carry this size, and none of its rails is in quarantine
  float samples = 0;       // how many completions stand behind it; old ones count less. 0: nothing is known
  float log2_cost = 0;     // log2 of the expected nanoseconds, tails included
  float log2_error = 0;    // standard error of log2_cost; grows while the alternative is not used
  float log2_p99 = 0;      // log2 of the nanoseconds that 99 of 100 transfers do not exceed
  float reliability = 1;   // share of transfers that needed no retransmission
  float bytes_per_ns = 0;  // of a long transfer; 0: nothing is known
  float retransmits = 0;   // of a transfer, lately; more than four count as four
  // log2 of how much cheaper than the current choice it proved in direct comparison, of all probes since either
  // changed; and by how much that may be off, at any time but for one case of ten thousand. Radius 0: they were not
  // compared.
  float log2_gain = 0;
  float log2_gain_radius = 0;
};

struct Situation {
  uint64_t bytes = 0;
  TrainingContext training;
  absl::Span<const Prediction> predictions;
  int current = -1;  // index of the alternative in use; -1: none yet
  uint32_t transfers_since_switch = 0;
  uint32_t transfers_since_probe = 0;
  bool unsettled = false;           // something changed lately: a change was detected, or this is the beginning
  bool losses_began = false;        // among it: more has to be sent again than before
  bool probe_allowed = false;       // no probe is out
  float log2_probe_budget = -1e9f;  // log2 of the nanoseconds that a probe may cost beyond the current choice
};

enum class Reason : uint8_t {
  kStart,        // nothing was in use
  kKeep,         // nothing is better by enough
  kFaster,       // another is cheaper beyond doubt
  kUnavailable,  // what was in use is in quarantine, or cannot carry this size
  kDeadline,     // another is likelier to meet the deadline
  kRule,         // a rule of `rules` says so
  kForced,       // `fixed`
};
MCP_EXPORT absl::string_view ReasonName(Reason reason);

struct Verdict {
  int chosen = -1;  // index into the predictions
  int probe = -1;   // one transfer shall try this alternative; -1: none
  Reason reason = Reason::kKeep;
};

class MCP_EXPORT Policy {
 public:
  Policy() = default;
  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;
  virtual ~Policy();

  virtual absl::string_view name() const = 0;
  // At least one prediction is eligible. The same situation gives the same verdict: recorded decisions can be replayed.
  virtual Verdict Decide(const Situation& situation) const = 0;
};

// The decision tree of `rules`.
struct RulesOptions {
  float reliability_min = 0.95f;    // below: replica
  float bulk_bytes_per_ns = 1.25f;  // at least: exact bulk (10 Gb/s); below: packed bulk, where a codec is offered
};

struct PolicyOptions {
  // "model": the cheapest by measured latency, tried with a bounded budget, changed only beyond doubt.
  // "rules": not training: stream; unreliable: replica; fast: bulk; else bulk with a codec.
  // "fixed": `fixed`, always; of its rails those that there are.
  std::string policy = "model";
  RulesOptions rules;
  Alternative fixed;
};

// kInvalidArgument names the option and its value.
MCP_EXPORT absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const PolicyOptions& options);

}  // namespace mcp

#endif  // MCP_CONTEXT_H_
