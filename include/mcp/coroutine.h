// `co_await` on operations: an adapter over Completion, header only.
//
//   mcp::Result sent = co_await mcp::Await([&](mcp::Completion done) {
//     return session.Send(tag, slice, std::move(done));
//   });
//
// The coroutine goes on where completions run: on a lane, so it must not block there. An operation that is not
// accepted does not suspend: the result carries its status at once.
//
// Lifetime: the coroutine's frame must not be destroyed while it is suspended here; close the session first.
#ifndef MCP_COROUTINE_H_
#define MCP_COROUTINE_H_

#include <atomic>
#include <coroutine>
#include <utility>

#include "absl/status/statusor.h"
#include "mcp/completion.h"

namespace mcp {

template <class Start>
class OperationAwaiter {
 public:
  explicit OperationAwaiter(Start start) : start_(std::move(start)) {}

  bool await_ready() const noexcept { return false; }

  // The completion may run on a lane before Start has returned here. Whoever comes second goes on with the coroutine.
  bool await_suspend(std::coroutine_handle<> waiting) {
    waiting_ = waiting;
    absl::StatusOr<OperationId> started = start_(Completion([this](Result result) {
      result_ = std::move(result);
      if (second_.exchange(true, std::memory_order_acq_rel)) waiting_.resume();
    }));
    if (!started.ok()) {
      result_.status = started.status();
      return false;
    }
    return !second_.exchange(true, std::memory_order_acq_rel);
  }

  Result await_resume() { return std::move(result_); }

 private:
  Start start_;
  std::coroutine_handle<> waiting_;
  Result result_;
  std::atomic<bool> second_{false};
};

// `start` is called once with the Completion to pass on, and returns what the operation returned.
template <class Start>
OperationAwaiter<Start> Await(Start start) {
  return OperationAwaiter<Start>(std::move(start));
}

}  // namespace mcp

#endif  // MCP_COROUTINE_H_
