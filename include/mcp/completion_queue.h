// Completions by polling, or by waiting on a file descriptor: an adapter over Completion.
//
// Thread rule: For may be called from any thread, and the completions that it makes run on any lane; Poll and
// AcknowledgeEvents belong to one thread at a time.
//
// Lifetime: a queue outlives the operations whose completions it made. It holds at most `capacity` completions between
// being made and being polled; For returns an empty Completion beyond that, so that none is ever lost.
#ifndef MCP_COMPLETION_QUEUE_H_
#define MCP_COMPLETION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mcp/completion.h"
#include "mcp/export.h"

namespace mcp {

struct CompletedOperation {
  uint64_t cookie = 0;  // as given to For
  Result result;
};

class MCP_EXPORT CompletionQueue {
 public:
  // `capacity` is rounded up to a power of two. kResourceExhausted when the system gives no event descriptor.
  static absl::StatusOr<std::unique_ptr<CompletionQueue>> Create(uint32_t capacity);
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  // A completion that puts its result into this queue under `cookie`. Pass it to one operation; if the operation is not
  // accepted, destroying the Completion gives its place back. Null when the queue has no place left.
  Completion For(uint64_t cookie);

  // Takes up to completed.size() results, oldest first; returns how many. Never blocks.
  size_t Poll(absl::Span<CompletedOperation> completed);

  // Readable (poll, epoll, io_uring) while there may be results that were not polled since the last
  // AcknowledgeEvents. Wait for it, call AcknowledgeEvents, then Poll until it returns 0.
  int event_fd() const;
  void AcknowledgeEvents();

  struct State;

 private:
  explicit CompletionQueue(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace mcp

#endif  // MCP_COMPLETION_QUEUE_H_
