// A seeded mix of everything a session does, in both directions at once, each operation with bytes of its own.
//
// What is checked, beside what Operations checks: an operation that ends well has moved exactly its bytes, at its
// completion and still at the end; the source is scribbled over as soon as its lending is over, so that whoever reads
// it later is found out; every operation ends within a bound of the engines' clock.
#ifndef MCP_TESTS_SUPPORT_WORKLOAD_H_
#define MCP_TESTS_SUPPORT_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "mcp/engine.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"

namespace mcp::internal {

struct WorkloadOptions {
  uint64_t seed = 1;
  size_t transfers = 300;  // a send and its receive are one
  size_t slots = 16;       // transfers at once
  uint64_t bytes_max = 5 << 19;
  double cancel_rate = 0;   // of transfers, at a random moment
  double timeout_rate = 0;  // of transfers, with a timeout of a few milliseconds
  int sessions_max = 1;     // a session that ends is followed by another, up to so many
  SessionOptions session;
  int64_t bound_ns = kPatienceNs;  // from one completion to the next
  Clock* trace_clock = nullptr;    // with engines without lanes: completions are traced by its time
};

class Workload {
 public:
  Workload(EngineWorld* world, Operations* operations, Engine* client, Engine* server, const WorkloadOptions& options);
  ~Workload();

  // Runs it to its end; false, with failures noted, when something did not end within the bound.
  bool Run();

  // Of every completion in its order, and of the memory at the end.
  uint64_t trace() const { return trace_; }
  size_t count(absl::StatusCode code) const;
  // "ok 290, cancelled 10 in 2 sessions"
  std::string Summary() const;
  const absl::Status& last_end() const { return last_end_; }  // why the last session that ended did

 private:
  struct Side {
    std::vector<std::byte> bytes;
    Region region;
    RemoteRegion remote;
  };
  struct Slot {
    bool busy = false;
    int source = 0;  // side
    uint64_t size = 0;
    uint64_t seed = 0;
    bool paired = false;        // a send and its receive
    bool receive_owed = false;  // to be posted once receive_in looks have passed: the message may be there first
    int receive_in = 0;
    uint64_t tag = 0;
    Operations::Index indices[2] = {0, 0};
    Session* starters[2] = {nullptr, nullptr};
    bool cancelled[2] = {false, false};
    int cancel_in = -1;
    bool lives = false;  // the target holds `seed`'s bytes
  };

  bool Connect();
  void Issue();
  bool IssueInto(Slot* slot);
  void PostReceive(Slot* slot);
  // `lends`: the operation's own completion gives its source back.
  Operations::Index Begin(Slot* slot, int which, bool lends, std::string what, Session* session, Operations::Call call);
  void Scribble(const Slot& slot);
  void Reap();
  bool Look(Slot* slot);
  void Settle(Slot* slot);
  void CancelPart(Slot* slot, int which);
  bool Busy() const;
  void Trace(uint64_t value);
  void CheckTargets();
  absl::Span<std::byte> BytesOf(const Slot& slot, int side);
  Slice SliceOf(const Slot& slot, int side) const;
  uint64_t SizeOfNext();

  EngineWorld* const world_;
  Operations* const operations_;
  Engine* const engines_[2];
  const WorkloadOptions options_;
  Random random_;
  Side sides_[2];
  EngineWorld::Ends ends_;
  std::vector<Slot> slots_;
  size_t issued_ = 0;
  size_t settled_ = 0;
  int sessions_ = 0;
  bool session_over_ = true;
  uint64_t next_tag_ = 1;
  uint64_t trace_ = 0xcbf29ce484222325;
  std::map<absl::StatusCode, size_t> codes_;
  absl::Status last_end_;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_WORKLOAD_H_
