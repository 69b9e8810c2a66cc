// The receiving side of send_bw: keeps receives posted, and knows which message landed in which slot.
//
// Any message matches any receive, so the tag, which is the operation's number, says what must be in the slot. Each
// receive in flight belongs to a chain with slots of its own, which it goes round; with verification it takes each of
// them once in a window, and stops until the window has been compared.
//
// Thread rule: the public members from one thread; completions run on the lanes.
// Lifetime: AwaitEnd, close the session, destroy; the destructor waits for the completions.
#ifndef MCP_TOOLS_MCP_PERF_RECEIVE_LOOP_H_
#define MCP_TOOLS_MCP_PERF_RECEIVE_LOOP_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/completion.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/data_path.h"

namespace mcp::perf {

class ReceiveLoop {
 public:
  explicit ReceiveLoop(DataPath* path);
  ~ReceiveLoop();
  ReceiveLoop(const ReceiveLoop&) = delete;
  ReceiveLoop& operator=(const ReceiveLoop&) = delete;

  // Posts the receives of a window.
  absl::Status Begin();
  // Waits until all `count` messages of the window have been received.
  absl::Status Await(uint64_t count, const ControlChannel& control);
  // After Await: every operation of the window arrived once, each with its own bytes. Returns the bytes compared.
  absl::StatusOr<uint64_t> Check(uint64_t generation, uint64_t count);
  // Waits, for a bounded time, until the client's close of the session has ended the receives that are left. Before
  // that, a lane may be using the session's handle, which must then not be destroyed.
  void AwaitEnd();

 private:
  struct alignas(64) Chain {
    ReceiveLoop* loop = nullptr;
    uint64_t index = 0;
    uint64_t slot = 0;                   // where the next message goes
    uint64_t turn = 0;                   // of the chain's slots: which one that is
    uint64_t checked = 0;                // completions that earlier windows had
    std::atomic<uint64_t> limit{0};      // completions after which it stops
    std::atomic<uint64_t> completed{0};  // written by one completion at a time
  };

  uint64_t Slot(const Chain& chain, uint64_t completion) const;
  void StepSlot(Chain* chain) const;
  void OnReceived(Chain* chain, const Result& result);
  void Post(Chain* chain);
  void Fail(const absl::Status& status);
  absl::Status error();
  uint64_t received() const;
  absl::Status CheckSlot(uint64_t slot, uint64_t generation, uint64_t count, std::vector<bool>& seen);

  DataPath* const path_;
  const uint64_t slots_per_chain_;
  const uint64_t stride_;  // from a chain's slot to its next one
  std::vector<Chain> chains_;
  std::vector<uint64_t> tags_;  // of the last message in each slot, where they are compared
  uint64_t received_before_ = 0;
  std::atomic<uint32_t> in_flight_{0};  // chains with a receive posted
  std::mutex mutex_;
  absl::Status error_;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_RECEIVE_LOOP_H_
