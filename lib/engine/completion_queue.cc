// include/mcp/completion_queue.h.
#include "mcp/completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <utility>

#include "lib/base/errno_status.h"
#include "lib/base/mpsc_queue.h"

namespace mcp {

struct CompletionQueue::State {
  State(uint32_t places, int descriptor) : capacity(places), fd(descriptor), queue(places) {}
  ~State() { close(fd); }

  void Push(CompletedOperation&& completed) {
    // Every completion has its place, so that there is always room.
    queue.TryPush(std::move(completed));
    if (!signaled.exchange(true, std::memory_order_seq_cst)) {
      const uint64_t one = 1;
      // Fails only when the counter is full, and then it is readable as it should be.
      [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
    }
  }

  const uint32_t capacity;
  const int fd;
  internal::MpscQueue<CompletedOperation> queue;
  alignas(64) std::atomic<uint32_t> places_taken{0};
  alignas(64) std::atomic<bool> signaled{false};
};

namespace {

// One place in the queue: taken by For, given back by Poll, or here when the completion never ran.
class Place {
 public:
  explicit Place(CompletionQueue::State* state) : state_(state) {}
  Place(Place&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Place& operator=(Place&&) = delete;
  ~Place() {
    if (state_ != nullptr) state_->places_taken.fetch_sub(1, std::memory_order_release);
  }
  CompletionQueue::State* Use() { return std::exchange(state_, nullptr); }

 private:
  CompletionQueue::State* state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CompletionQueue>> CompletionQueue::Create(uint32_t capacity) {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return internal::ErrnoStatus(errno, "completion queue: eventfd");
  const uint32_t places = std::bit_ceil(capacity < 2 ? 2u : capacity);
  return std::unique_ptr<CompletionQueue>(new CompletionQueue(std::make_unique<State>(places, fd)));
}

CompletionQueue::CompletionQueue(std::unique_ptr<State> state) : state_(std::move(state)) {}
CompletionQueue::~CompletionQueue() = default;

Completion CompletionQueue::For(uint64_t cookie) {
  if (state_->places_taken.fetch_add(1, std::memory_order_acquire) >= state_->capacity) {
    state_->places_taken.fetch_sub(1, std::memory_order_release);
    return nullptr;
  }
  return [place = Place(state_.get()), cookie](Result result) mutable {
    place.Use()->Push({cookie, std::move(result)});
  };
}

size_t CompletionQueue::Poll(absl::Span<CompletedOperation> completed) {
  size_t count = 0;
  while (count < completed.size() && state_->queue.TryPop(&completed[count])) ++count;
  if (count > 0) state_->places_taken.fetch_sub(static_cast<uint32_t>(count), std::memory_order_release);
  return count;
}

int CompletionQueue::event_fd() const { return state_->fd; }

// Cleared before the caller polls: what is pushed after that signals anew.
void CompletionQueue::AcknowledgeEvents() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(state_->fd, &count, sizeof(count));
  state_->signaled.store(false, std::memory_order_seq_cst);
}

}  // namespace mcp
