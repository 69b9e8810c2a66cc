// Which way shall this message go? A session's half of the context layer: the alternatives that its rails give, the
// samples that its completed transfers are, and the tally of what was chosen.
//
// Two alternatives: bulk, spread over the rails in fixed shares, and stream, whose chunks go to whichever rail has
// room. A rail of its own is none: a rail that became slow is what stream is for, and what one transfer costs on one of
// two idle rails says nothing of many transfers at once.
//
// Thread rule: the session's home lane, except tally().
#ifndef MCP_LIB_SESSION_PATH_CHOICE_H_
#define MCP_LIB_SESSION_PATH_CHOICE_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "lib/context/advisor.h"
#include "lib/context/sampler.h"
#include "lib/session/loss_tally.h"
#include "lib/transport/transport.h"
#include "mcp/context.h"

namespace mcp::internal {

class LaneContext;

// Goes with the transfer and comes back when it has ended.
struct TransferChoice {
  static constexpr uint8_t kNone = 0xff;

  uint8_t alternative = kNone;
  bool probe = false;
  Protocol protocol = Protocol::kBulk;
  PostMark mark;

  bool made() const { return alternative != kNone; }
};

struct ProtocolTally {
  uint64_t bulk = 0;  // transfers
  uint64_t stream = 0;
  uint64_t switches = 0;
  uint64_t probes = 0;
};

class PathChoice {
 public:
  // `context` outlives this.
  explicit PathChoice(LaneContext* context) : context_(context) { last_.fill(TransferChoice::kNone); }

  // Before the first choice: how many rails there are, and what the transport knows of the path.
  void Enter(uint16_t rails, const PathStatistics& path);
  bool entered() const { return peer_ != kNoPeer; }
  TransferChoice Choose(uint64_t bytes, int64_t now_ns);
  // What rails have sent again, before the end of a transfer is told: it is charged to those that are under way.
  void AddLosses(uint32_t rail, const RailLosses& losses) { losses_.Add(rail, losses); }
  void Complete(const TransferChoice& choice, uint64_t bytes, int64_t now_ns);
  // The path did not carry it in time.
  void Fail(const TransferChoice& choice, uint64_t bytes, int64_t now_ns);
  // It ended otherwise, which says nothing of the path: no sample.
  void Abandon(const TransferChoice& choice, uint64_t bytes);
  // A rail was lost, or is back.
  void OnRail(uint32_t rail, bool up, int64_t now_ns);
  // A rail is there for the first time: what was learned without it is doubted.
  void OnRailAdded(uint32_t rail, int64_t now_ns);
  // The session ends: whatever it still sends goes by bulk.
  void Leave();

  ProtocolTally tally() const;

 private:
  static constexpr uint32_t kNoPeer = ~uint32_t{0};
  static constexpr uint32_t kRefused = kNoPeer - 1;  // the table of peers is full

  void Count(const TransferChoice& choice, uint64_t bytes);
  Sample SampleOf(const TransferChoice& choice, uint64_t bytes, int64_t now_ns);

  LaneContext* const context_;
  uint32_t peer_ = kNoPeer;
  Sampler sampler_;
  LossTally losses_;
  uint32_t under_way_ = 0;                  // transfers
  bool learned_ = false;                    // from a transfer of this session's
  std::array<uint8_t, kSizeClasses> last_;  // alternative in use, by size
  std::atomic<uint64_t> bulk_{0};
  std::atomic<uint64_t> stream_{0};
  std::atomic<uint64_t> switches_{0};
  std::atomic<uint64_t> probes_{0};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_PATH_CHOICE_H_
