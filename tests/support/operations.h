// Operations under guard: each that was accepted completes exactly once, never on the stack of the call that started
// it, and with a code that the API names; whatever breaks that fails the test.
//
// Thread rule: Start from any thread; the rest too.
#ifndef MCP_TESTS_SUPPORT_OPERATIONS_H_
#define MCP_TESTS_SUPPORT_OPERATIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "mcp/session.h"
#include "tests/support/engine_world.h"

namespace mcp::internal {

class Operations {
 public:
  // Names an operation of this guard; kRefused: it was not accepted.
  using Index = size_t;

  struct Outcome {
    std::string what;
    absl::Status accepted;  // why not, if it was not
    OperationId id = 0;
    bool done = false;
    Result result;
  };

  // The guard must outlive the engines, so that it sees every completion. World may be null: nobody is notified.
  Operations();
  ~Operations();
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  void set_world(EngineWorld* world) { world_ = world; }

  Index Put(Session& session, Slice local, const RemoteRegion& remote, uint64_t offset, OperationOptions options = {});
  Index Get(Session& session, Slice local, const RemoteRegion& remote, uint64_t offset, OperationOptions options = {});
  Index Send(Session& session, uint64_t tag, Slice local, OperationOptions options = {});
  Index Receive(Session& session, uint64_t tag, Slice local, ReceiveOptions options = {});
  Index Close(Session& session);

  // The general form: `call` starts the operation with the completion that it is given; `then` runs in the completion,
  // before the operation shows as done.
  using Call = absl::FunctionRef<absl::StatusOr<OperationId>(Completion)>;
  Index Start(std::string what, Call call, std::function<void(const Result&)> then = nullptr);

  Outcome at(Index index) const;
  bool accepted(Index index) const { return at(index).accepted.ok(); }
  bool done(Index index) const { return at(index).done; }
  absl::Status status(Index index) const { return at(index).result.status; }
  // Accepted and not completed.
  size_t open() const;
  size_t started() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
  EngineWorld* world_ = nullptr;
};

// Whether an operation may end so, by the API.
bool IsAllowedCode(absl::StatusCode code);

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_OPERATIONS_H_
