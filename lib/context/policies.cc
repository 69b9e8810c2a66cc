#include "lib/context/policies.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mcp {

Policy::~Policy() = default;

absl::string_view ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kEager:
      return "eager";
    case Protocol::kBulk:
      return "bulk";
    case Protocol::kStream:
      return "stream";
    case Protocol::kReplica:
      return "replica";
  }
  return "?";
}

absl::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kTraining:
      return "training";
    case Phase::kValidation:
      return "validation";
    case Phase::kInference:
      return "inference";
  }
  return "?";
}

absl::string_view ReasonName(Reason reason) {
  switch (reason) {
    case Reason::kStart:
      return "start";
    case Reason::kKeep:
      return "keep";
    case Reason::kFaster:
      return "faster";
    case Reason::kUnavailable:
      return "unavailable";
    case Reason::kDeadline:
      return "deadline";
    case Reason::kRule:
      return "rule";
    case Reason::kForced:
      return "forced";
  }
  return "?";
}

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const PolicyOptions& options) {
  std::unique_ptr<Policy> policy;
  if (options.policy == "model") {
    policy = std::make_unique<internal::ModelPolicy>();
  } else if (options.policy == "rules") {
    const RulesOptions& rules = options.rules;
    if (!(rules.reliability_min >= 0 && rules.reliability_min <= 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("rules.reliability_min ", rules.reliability_min, ": expected a share from 0 to 1"));
    }
    if (!(rules.bulk_bytes_per_ns >= 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("rules.bulk_bytes_per_ns ", rules.bulk_bytes_per_ns, ": expected at least 0"));
    }
    policy = std::make_unique<internal::RulesPolicy>(rules);
  } else if (options.policy == "fixed") {
    if (options.fixed.rails == 0) return absl::InvalidArgumentError("fixed.rails 0: expected at least one rail");
    policy = std::make_unique<internal::FixedPolicy>(options.fixed);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("policy \"", options.policy, "\" is unknown: expected model, rules or fixed"));
  }
  return policy;
}

namespace internal {

int FirstEligible(absl::Span<const Prediction> predictions) {
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (predictions[i].eligible) return static_cast<int>(i);
  }
  return 0;
}

namespace {

// The first eligible alternative that satisfies `wanted`; -1 if none does.
template <class Wanted>
int Find(absl::Span<const Prediction> predictions, Wanted wanted) {
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (predictions[i].eligible && wanted(predictions[i])) return static_cast<int>(i);
  }
  return -1;
}

int FindProtocol(absl::Span<const Prediction> predictions, Protocol protocol, bool packed = false) {
  return Find(predictions, [&](const Prediction& prediction) {
    return prediction.alternative.protocol == protocol && (prediction.alternative.codec != 0) == packed;
  });
}

int Tree(const RulesOptions& options, const Situation& situation) {
  const absl::Span<const Prediction> predictions = situation.predictions;
  const int eager = FindProtocol(predictions, Protocol::kEager);
  if (eager >= 0) return eager;
  if (situation.training.phase != Phase::kTraining) return FindProtocol(predictions, Protocol::kStream);
  const int bulk = FindProtocol(predictions, Protocol::kBulk);
  if (bulk < 0) return -1;
  // Where bulk was left, replica's own retransmissions speak for the path.
  const int measured = situation.current < 0 ? bulk : situation.current;
  if (predictions[static_cast<size_t>(measured)].reliability < options.reliability_min) {
    const int replica = FindProtocol(predictions, Protocol::kReplica);
    if (replica >= 0) return replica;
  }
  const float rate = predictions[static_cast<size_t>(bulk)].bytes_per_ns;
  if (rate == 0 || rate >= options.bulk_bytes_per_ns) return bulk;
  const int packed = FindProtocol(predictions, Protocol::kBulk, true);
  return packed >= 0 ? packed : bulk;
}

}  // namespace

Verdict RulesPolicy::Decide(const Situation& situation) const {
  Verdict verdict;
  verdict.chosen = Tree(options_, situation);
  if (verdict.chosen < 0) verdict.chosen = FirstEligible(situation.predictions);
  verdict.reason = verdict.chosen == situation.current ? Reason::kKeep : Reason::kRule;
  return verdict;
}

Verdict FixedPolicy::Decide(const Situation& situation) const {
  Verdict verdict;
  const auto same_way = [&](const Prediction& prediction) {
    const Alternative& offered = prediction.alternative;
    return offered.protocol == alternative_.protocol && offered.codec == alternative_.codec;
  };
  verdict.chosen = Find(situation.predictions, [&](const Prediction& prediction) {
    return same_way(prediction) && prediction.alternative.rails == alternative_.rails;
  });
  if (verdict.chosen < 0) verdict.chosen = Find(situation.predictions, same_way);
  verdict.reason = Reason::kForced;
  if (verdict.chosen < 0) {
    verdict.chosen = FirstEligible(situation.predictions);
    verdict.reason = Reason::kUnavailable;
  }
  return verdict;
}

}  // namespace internal
}  // namespace mcp
