// A progress thread: drives one lane until it is stopped. It polls for a while after the last work, then blocks.
#ifndef MCP_LIB_ENGINE_LANE_THREAD_H_
#define MCP_LIB_ENGINE_LANE_THREAD_H_

#include <atomic>
#include <cstdint>
#include <thread>

#include "lib/session/lane.h"

namespace mcp::internal {

class LaneThread {
 public:
  LaneThread(Lane& lane, int64_t spin_ns);
  ~LaneThread();  // stops and joins
  LaneThread(const LaneThread&) = delete;
  LaneThread& operator=(const LaneThread&) = delete;

 private:
  void Drive();

  Lane& lane_;
  const int64_t spin_ns_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_ENGINE_LANE_THREAD_H_
