// Who chooses: the production context layer with one of its policies, and what others do.
#ifndef MCP_PERF_SIM_CONTESTANT_H_
#define MCP_PERF_SIM_CONTESTANT_H_

#include <memory>
#include <string>
#include <vector>

#include "lib/context/advisor.h"
#include "perf/sim/trace.h"

namespace mcp::internal {

struct Choice {
  uint32_t alternative = 0;
  bool probe = false;
};

class Contestant {
 public:
  virtual ~Contestant() = default;
  virtual Choice Choose(uint64_t bytes, int64_t now_ns) = 0;
  virtual void Observe(const Choice& choice, uint64_t bytes, const Outcome& outcome, int64_t now_ns) = 0;
  // The session has connected a rail again.
  virtual void Restore(uint32_t) {}
};

// lib/context as a session uses it. `policy` as in PolicyOptions.
class Adaptive final : public Contestant {
 public:
  Adaptive(const std::string& policy, const std::vector<Alternative>& alternatives, size_t decisions_kept = 0);
  Choice Choose(uint64_t bytes, int64_t now_ns) override;
  void Observe(const Choice& choice, uint64_t bytes, const Outcome& outcome, int64_t now_ns) override;

  void Restore(uint32_t rail) override { advisor_->RestoreRail(peer_, rail); }

  const Advisor& advisor() const { return *advisor_; }
  const DecisionTrace& decisions() const { return decisions_; }

 private:
  std::unique_ptr<Policy> policy_;
  DecisionTrace decisions_;
  std::unique_ptr<Advisor> advisor_;
  uint32_t peer_ = 0;
};

// One alternative, always; what cannot carry a size leaves it to the first.
class Fixed final : public Contestant {
 public:
  Fixed(uint32_t alternative, uint64_t bytes_max) : alternative_(alternative), bytes_max_(bytes_max) {}
  Choice Choose(uint64_t bytes, int64_t) override { return {bytes <= bytes_max_ ? alternative_ : 0, false}; }
  void Observe(const Choice&, uint64_t, const Outcome&, int64_t) override {}

 private:
  const uint32_t alternative_;
  const uint64_t bytes_max_;
};

// A threshold on the size, as UCX has it from its estimates of the devices: eager up to 8 KiB, else bulk on the first
// rail. What happens on the path changes nothing.
class Thresholds final : public Contestant {
 public:
  explicit Thresholds(const std::vector<Alternative>& alternatives);
  Choice Choose(uint64_t bytes, int64_t) override { return {bytes <= kEagerMax ? eager_ : 0, false}; }
  void Observe(const Choice&, uint64_t, const Outcome&, int64_t) override {}

 private:
  static constexpr uint64_t kEagerMax = 8192;
  uint32_t eager_ = 0;
};

// The lowest average of time per byte, as Mooncake's TENT has it: a new sample weighs 99 %, and nothing is tried that
// seems worse. Each alternative begins at 0, so each is tried once.
class LastSample final : public Contestant {
 public:
  explicit LastSample(const std::vector<Alternative>& alternatives)
      : alternatives_(alternatives), averages_(kSizeClasses, std::vector<double>(alternatives.size())) {}
  Choice Choose(uint64_t bytes, int64_t) override;
  void Observe(const Choice& choice, uint64_t bytes, const Outcome& outcome, int64_t) override;

 private:
  const std::vector<Alternative> alternatives_;
  std::vector<std::vector<double>> averages_;
};

}  // namespace mcp::internal

#endif  // MCP_PERF_SIM_CONTESTANT_H_
