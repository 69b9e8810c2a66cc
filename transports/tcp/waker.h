// Ends another thread's wait without a system call when that thread is not waiting.
#ifndef MCP_TRANSPORTS_TCP_WAKER_H_
#define MCP_TRANSPORTS_TCP_WAKER_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "transports/tcp/descriptor.h"

namespace mcp::internal {

class Waker {
 public:
  Waker() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

  bool valid() const { return event_.valid(); }
  int fd() const { return event_.get(); }

  // Any thread.
  void Wake() {
    if (woken_.exchange(true) || !waiting_.load()) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof(one));
  }

  // The waiting thread's. False: a Wake came before; do not wait.
  bool BeginWait() {
    waiting_.store(true);
    if (!woken_.load()) return true;
    EndWait();
    return false;
  }
  void EndWait() {
    waiting_.store(false);
    woken_.store(false);
  }
  // After the descriptor became readable.
  void Drain() {
    uint64_t count;
    [[maybe_unused]] const ssize_t bytes = read(event_.get(), &count, sizeof(count));
  }

 private:
  Descriptor event_;
  std::atomic<bool> waiting_{false};
  std::atomic<bool> woken_{false};
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_WAKER_H_
