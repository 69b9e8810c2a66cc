#include "lib/engine/lane_thread.h"

#include <pthread.h>

#include <limits>

#include "absl/strings/str_cat.h"

namespace mcp::internal {

LaneThread::LaneThread(Lane& lane, int64_t spin_ns) : lane_(lane), spin_ns_(spin_ns), thread_([this] { Drive(); }) {}

LaneThread::~LaneThread() {
  stopping_.store(true, std::memory_order_release);
  lane_.Run([] {});  // whatever it does, it looks again
  thread_.join();
}

void LaneThread::Drive() {
  pthread_setname_np(pthread_self(), absl::StrCat("mcp-lane-", lane_.index()).c_str());
  const Lane::Binding binding(lane_);
  int64_t idle_since_ns = 0;
  while (!stopping_.load(std::memory_order_acquire)) {
    if (lane_.RoundOnLane() != 0) {
      idle_since_ns = 0;
      continue;
    }
    if (idle_since_ns == 0) idle_since_ns = lane_.now_ns();
    if (lane_.now_ns() - idle_since_ns < spin_ns_) continue;
    lane_.WaitOnLane(std::numeric_limits<int64_t>::max());
  }
}

}  // namespace mcp::internal
