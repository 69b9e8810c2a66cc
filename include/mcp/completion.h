// How an operation ends.
//
// Every accepted operation runs its completion exactly once, on the lane that finished it (a progress thread, or the
// thread inside Engine::Progress when the engine has no lanes), and never on the stack of the call that started it.
// A completion may start further operations; it must not block. Completion queues, event file descriptors and
// `co_await` (completion_queue.h, coroutine.h) are adapters over this one primitive.
#ifndef MCP_COMPLETION_H_
#define MCP_COMPLETION_H_

#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace mcp {

// Names an accepted operation within its session, for Session::Cancel. Never 0, never reused within a session.
using OperationId = uint64_t;

struct Result {
  // OK, or why the operation failed:
  //   kCancelled         Cancel took effect, or the session was closed locally
  //   kDeadlineExceeded  the operation's timeout passed
  //   kUnavailable       the peer or the path to it is gone
  //   kOutOfRange        a message did not fit the receive buffer it was matched with
  //   kDataLoss          bytes arrived damaged and retransmission did not mend them
  //   kInternal          the peer broke the protocol; the message names the field and value
  absl::Status status;
  // Payload bytes moved. For Receive: the length of the message, which may be less than the buffer.
  uint64_t bytes = 0;
  // For Receive: the sender's tag. Otherwise 0.
  uint64_t tag = 0;
  OperationId operation = 0;
};

using Completion = absl::AnyInvocable<void(Result) &&>;

}  // namespace mcp

#endif  // MCP_COMPLETION_H_
