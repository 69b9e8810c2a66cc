// Control messages over a session of their own, on an engine with a lane that blocks: it costs the measured traffic
// nothing, and keeps the peer's death visible while both sides measure.
//
// Thread rule: Send and Receive from one thread; Create, Notice, alive and has_message from any.
// Lifetime: the engine outlives it. The destructor closes the session and waits for its completions, so it must not run
// on a lane.
#ifndef MCP_TOOLS_MCP_PERF_CONTROL_CHANNEL_H_
#define MCP_TOOLS_MCP_PERF_CONTROL_CHANNEL_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/engine.h"
#include "mcp/session.h"
#include "tools/mcp_perf/control_messages.h"

namespace mcp::perf {

// An answer that takes longer than this is an error. Preparing touches and fills all the buffers.
inline constexpr std::chrono::seconds kAnswerTimeout{60};

class ControlChannel {
 public:
  static absl::StatusOr<std::unique_ptr<ControlChannel>> Create(Engine* engine, Session session);
  // To a server, on an engine that it makes and puts in `engine`.
  static absl::StatusOr<std::unique_ptr<ControlChannel>> Connect(const std::string& host, uint16_t port,
                                                                 std::unique_ptr<Engine>* engine);
  ~ControlChannel();
  ControlChannel(const ControlChannel&) = delete;
  ControlChannel& operator=(const ControlChannel&) = delete;

  // Returns when the peer's side has the message.
  absl::Status Send(const Json& message);
  // Sends without waiting: for the accept callback, which runs on a lane. At most once, before any Send.
  void Notice(const Json& message);

  // The next message. Drives `driven`, an engine without lanes, while it waits; null: none.
  //   kDeadlineExceeded   none came within the timeout
  //   kUnavailable ...    the session ended
  //   kCancelled          SIGINT or SIGTERM
  absl::StatusOr<Json> Receive(std::chrono::milliseconds timeout, Engine* driven = nullptr);
  // Receive, and the type must be that one.
  absl::StatusOr<Json> Expect(const char* type, std::chrono::milliseconds timeout, Engine* driven = nullptr);
  // Send, then Expect.
  absl::StatusOr<Json> Ask(const Json& question, const char* answer_type, Engine* driven = nullptr);

  // For loops that spin: one atomic load each.
  bool alive() const;
  bool has_message() const;

  const std::string& peer() const { return peer_; }

 private:
  struct State;
  explicit ControlChannel(std::shared_ptr<State> state, std::string peer);

  std::shared_ptr<State> state_;
  std::string peer_;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_CONTROL_CHANNEL_H_
