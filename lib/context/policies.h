// The built-in policies. None keeps state: a verdict follows from the situation alone.
#ifndef MCP_LIB_CONTEXT_POLICIES_H_
#define MCP_LIB_CONTEXT_POLICIES_H_

#include "mcp/context.h"

namespace mcp::internal {

// The cheapest by measured latency.
class ModelPolicy final : public Policy {
 public:
  absl::string_view name() const override { return "model"; }
  Verdict Decide(const Situation& situation) const override;
};

// The decision tree: first rule that applies.
class RulesPolicy final : public Policy {
 public:
  explicit RulesPolicy(const RulesOptions& options) : options_(options) {}
  absl::string_view name() const override { return "rules"; }
  Verdict Decide(const Situation& situation) const override;

 private:
  const RulesOptions options_;
};

// What the user forces, on the rails that it names if that is offered, else on others. Where the protocol is not
// offered, or cannot carry the size, the first that can.
class FixedPolicy final : public Policy {
 public:
  explicit FixedPolicy(const Alternative& alternative) : alternative_(alternative) {}
  absl::string_view name() const override { return "fixed"; }
  Verdict Decide(const Situation& situation) const override;

 private:
  const Alternative alternative_;
};

// The first that is eligible.
int FirstEligible(absl::Span<const Prediction> predictions);

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_POLICIES_H_
