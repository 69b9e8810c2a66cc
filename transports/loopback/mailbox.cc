#include "transports/loopback/mailbox.h"

#include <algorithm>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "lib/base/units.h"
#include "transports/loopback/connection.h"

namespace mcp::internal {
namespace {

// How long a Wait sleeps before it looks at the clock again: an injected clock may move without telling.
constexpr int64_t kWaitSliceNs = 20'000'000;

}  // namespace

void LoopbackReadyList::PushBack(LoopbackEnd* end) {
  end->next = nullptr;
  if (tail == nullptr) {
    head = end;
  } else {
    tail->next = end;
  }
  tail = end;
}

LoopbackEnd* LoopbackReadyList::PopFront() {
  LoopbackEnd* end = head;
  head = end->next;
  if (head == nullptr) tail = nullptr;
  return end;
}

void LoopbackMailbox::Push(LoopbackEnd* end) {
  LoopbackEnd* newest = pushed_.load(std::memory_order_relaxed);
  do {
    end->next = newest;
  } while (!pushed_.compare_exchange_weak(newest, end));
  EndWait();
}

absl::Status LoopbackMailbox::Offer(std::string listener, std::unique_ptr<PendingConnection> pending) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (incoming_.size() >= kBacklogMax) {
      return absl::UnavailableError(absl::StrCat(listener, ": the backlog of ", kBacklogMax, " connections is full"));
    }
    incoming_.emplace_back(std::move(listener), std::move(pending));
    incoming_count_.store(incoming_.size());
  }
  EndWait();
  return absl::OkStatus();
}

void LoopbackMailbox::Wake() {
  woken_.store(true);
  EndWait();
}

void LoopbackMailbox::TakeAll(LoopbackReadyList* list) {
  if (pushed_.load(std::memory_order_relaxed) == nullptr) return;
  LoopbackEnd* newest = pushed_.exchange(nullptr, std::memory_order_acquire);
  LoopbackEnd* oldest_first = nullptr;
  while (newest != nullptr) {
    LoopbackEnd* older = newest->next;
    newest->next = oldest_first;
    oldest_first = newest;
    newest = older;
  }
  while (oldest_first != nullptr) {
    LoopbackEnd* newer = oldest_first->next;
    list->PushBack(oldest_first);
    oldest_first = newer;
  }
}

std::unique_ptr<PendingConnection> LoopbackMailbox::TakeIncoming() {
  if (incoming_count_.load(std::memory_order_relaxed) == 0) return nullptr;
  std::lock_guard<std::mutex> lock(mutex_);
  if (incoming_.empty()) return nullptr;
  std::unique_ptr<PendingConnection> pending = std::move(incoming_.front().second);
  incoming_.pop_front();
  incoming_count_.store(incoming_.size());
  return pending;
}

void LoopbackMailbox::DropIncoming(absl::string_view listener) {
  std::deque<std::pair<std::string, std::unique_ptr<PendingConnection>>> dropped;  // refused outside the lock
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = incoming_.begin(); it != incoming_.end();) {
    if (listener.empty() || it->first == listener) {
      dropped.push_back(std::move(*it));
      it = incoming_.erase(it);
    } else {
      ++it;
    }
  }
  incoming_count_.store(incoming_.size());
}

bool LoopbackMailbox::AnythingToTake() const { return pushed_.load() != nullptr || incoming_count_.load() != 0; }

void LoopbackMailbox::Wait(int64_t deadline_ns, Clock* clock) {
  for (;;) {
    // Before the look: whoever pushes after it sees `sleeping_` and posts.
    sleeping_.store(true);
    if (woken_.load() || AnythingToTake()) break;
    const int64_t left_ns = deadline_ns - clock->NowNs();
    if (left_ns <= 0) break;
    const int64_t until_ns = system_clock_.NowNs() + std::min(left_ns, kWaitSliceNs);
    const timespec until = {.tv_sec = until_ns / kNsPerS, .tv_nsec = until_ns % kNsPerS};
    sem_clockwait(&wakes_, CLOCK_MONOTONIC, &until);
  }
  sleeping_.store(false);
  woken_.store(false);
}

// A post that comes too late for its Wait makes a later one look once more.
void LoopbackMailbox::EndWait() {
  if (sleeping_.load() && sleeping_.exchange(false)) sem_post(&wakes_);
}

}  // namespace mcp::internal
