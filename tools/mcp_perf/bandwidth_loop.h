// A stream of Puts, Gets or Sends with a fixed number in flight.
//
// Hot path: a completion posts the next operation on the lane that ran it. Each of the operations in flight belongs to
// a chain, which claims operations in blocks; so an operation costs no atomic write, no allocation and, below
// kEveryOperationBytes, no clock reading but every kSampleEvery'th.
//
// Thread rule: Run from one thread; completions run on the lanes of the session's engine, which must have some.
#ifndef MCP_TOOLS_MCP_PERF_BANDWIDTH_LOOP_H_
#define MCP_TOOLS_MCP_PERF_BANDWIDTH_LOOP_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/completion.h"
#include "mcp/region.h"
#include "tools/mcp_perf/data_path.h"
#include "tools/mcp_perf/histogram.h"

namespace mcp::perf {

// Smaller operations than this have one in kSampleEvery timed: two clock readings are then a good part of their cost.
inline constexpr uint64_t kEveryOperationBytes = 4096;
// A prime, so that sampling does not keep step with batches.
inline constexpr uint32_t kSampleEvery = 67;

struct WindowOutcome {
  uint64_t operations = 0;
  int64_t ns = 0;  // from before the first post to the last completion
};

class BandwidthLoop {
 public:
  // `peer`: the ring of the server (Put) or its source (Get); unused by Send.
  BandwidthLoop(DataPath* path, const RemoteRegion& peer);
  ~BandwidthLoop();
  BandwidthLoop(const BandwidthLoop&) = delete;
  BandwidthLoop& operator=(const BandwidthLoop&) = delete;

  // Runs at most `limit` operations, and starts none after `duration_ns`. `tick` is called now and then meanwhile.
  // On an error everything in flight has completed, too.
  absl::StatusOr<WindowOutcome> Run(uint64_t generation, uint64_t limit, int64_t duration_ns,
                                    const std::function<void()>& tick);

  // Latencies of all windows since the last call, which it forgets.
  Histogram TakeLatency();

 private:
  struct alignas(64) Chain {
    BandwidthLoop* loop = nullptr;
    uint64_t next = 0;  // index of the next operation in the window
    uint64_t end = 0;   // of the claimed block
    uint64_t slot = 0;
    uint64_t phase = 0;
    int64_t posted_ns = 0;
    uint32_t until_sample = 1;
    bool sampled = false;
  };

  void OnDone(Chain* chain, const Result& result);
  void Advance(Chain* chain, int64_t now_ns);
  bool Claim(Chain* chain);
  void Post(Chain* chain);
  absl::StatusOr<OperationId> Start(Chain* chain, uint64_t index, uint64_t slot, uint64_t phase);
  void Retire();
  void Fail(const absl::Status& status);
  void RetryParked();
  void AwaitEnd(int64_t deadline_ns, const std::function<void()>& tick);
  Histogram& LaneHistogram();

  DataPath* const path_;
  const RemoteRegion peer_;
  const Operation operation_;
  const uint32_t sample_every_;
  std::vector<Chain> chains_;

  // Of the window that runs; written before the first post.
  uint64_t generation_ = 0;
  uint64_t limit_ = 0;
  uint64_t block_ = 1;

  alignas(64) std::atomic<uint64_t> next_{0};  // first operation that no chain has claimed
  alignas(64) std::atomic<bool> stop_{false};
  std::atomic<uint32_t> parked_count_{0};
  alignas(64) std::atomic<uint32_t> active_{0};  // chains with operations left

  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = true;
  int64_t end_ns_ = 0;
  absl::Status error_;
  std::deque<Chain*> parked_;  // refused with kResourceExhausted: tried again after a completion
  uint64_t serial_;            // tells this loop's histograms from those of an earlier one
  std::vector<std::unique_ptr<Histogram>> histograms_;  // one a lane
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_BANDWIDTH_LOOP_H_
