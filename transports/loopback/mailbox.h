// What reaches a loopback transport from other lanes: its ends that have something to do, and peers that want in.
//
// Thread rule: Push, Offer, Wake from any thread; the rest on the transport's lane. Push, Wake and Wait take no lock.
#ifndef MCP_TRANSPORTS_LOOPBACK_MAILBOX_H_
#define MCP_TRANSPORTS_LOOPBACK_MAILBOX_H_

#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/base/clock.h"
#include "lib/transport/transport.h"

namespace mcp::internal {

struct LoopbackEnd;

// Ends in the order in which they became ready, linked through LoopbackEnd::next.
struct LoopbackReadyList {
  LoopbackEnd* head = nullptr;
  LoopbackEnd* tail = nullptr;

  bool empty() const { return head == nullptr; }
  void PushBack(LoopbackEnd* end);
  LoopbackEnd* PopFront();
};

class LoopbackMailbox {
 public:
  // Peers that may wait for kIncoming to be polled.
  static constexpr size_t kBacklogMax = 1024;

  LoopbackMailbox() { sem_init(&wakes_, 0, 0); }
  ~LoopbackMailbox() { sem_destroy(&wakes_); }
  LoopbackMailbox(const LoopbackMailbox&) = delete;
  LoopbackMailbox& operator=(const LoopbackMailbox&) = delete;

  // The end must have won its `scheduled` flag, so that it is in one list only.
  void Push(LoopbackEnd* end);
  absl::Status Offer(std::string listener, std::unique_ptr<PendingConnection> pending);
  void Wake();

  // Appends what was pushed, oldest first.
  void TakeAll(LoopbackReadyList* list);
  std::unique_ptr<PendingConnection> TakeIncoming();
  // Refuses the peers that wait for this listener, or for any when empty.
  void DropIncoming(absl::string_view listener);

  // Blocks until there is something to take, Wake, or the deadline.
  void Wait(int64_t deadline_ns, Clock* clock);

 private:
  bool AnythingToTake() const;
  void EndWait();

  std::atomic<LoopbackEnd*> pushed_{nullptr};  // newest first
  std::atomic<size_t> incoming_count_{0};
  std::atomic<bool> woken_{false};
  std::atomic<bool> sleeping_{false};
  sem_t wakes_;
  SystemClock system_clock_;
  std::mutex mutex_;  // of incoming_
  std::deque<std::pair<std::string, std::unique_ptr<PendingConnection>>> incoming_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_LOOPBACK_MAILBOX_H_
