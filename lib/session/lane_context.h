// A lane's share of the context layer, made when the first session asks for it: an engine that sends no large messages
// pays nothing.
//
// Thread rule: lane only.
#ifndef MCP_LIB_SESSION_LANE_CONTEXT_H_
#define MCP_LIB_SESSION_LANE_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/log.h"
#include "lib/context/advisor.h"
#include "lib/context/profile.h"
#include "lib/context/trace.h"
#include "mcp/context.h"

namespace mcp::internal {

class LaneContext {
 public:
  // All outlive this; `profile` may be null. `forced`: the protocol that the user forces.
  LaneContext(const Policy* policy, std::optional<Protocol> forced, const Profile* profile, Logger* logger)
      : policy_(policy), forced_(forced), profile_(profile), logger_(logger) {}

  Advisor& advisor();
  std::optional<Protocol> forced() const { return forced_; }
  const Profile* profile() const { return profile_; }
  Logger& logger() { return *logger_; }
  void SetTraining(const TrainingContext& training);
  // The latest decisions, oldest first, a line each. They are kept rather than logged: they are made on the data path.
  std::vector<std::string> Decisions() const;

 private:
  static constexpr size_t kDecisionsKept = 64;

  const Policy* const policy_;
  const std::optional<Protocol> forced_;
  const Profile* const profile_;
  Logger* const logger_;
  TrainingContext training_;
  std::unique_ptr<DecisionTrace> decisions_;
  std::unique_ptr<Advisor> advisor_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_LANE_CONTEXT_H_
