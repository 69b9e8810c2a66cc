// The server's half of one measurement, driven by the client's control messages.
//
// Thread rule: the thread that serves the client; the session is accepted on a lane, or inside Progress.
#ifndef MCP_TOOLS_MCP_PERF_TARGET_H_
#define MCP_TOOLS_MCP_PERF_TARGET_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/mcp_perf/address.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/data_path.h"
#include "tools/mcp_perf/ping_pong.h"
#include "tools/mcp_perf/receive_loop.h"

namespace mcp::perf {

class Target {
 public:
  // Buffers, and a listener for the measured session: on `port`, or on a free one where that is taken.
  static absl::StatusOr<std::unique_ptr<Target>> Create(const TestSpec& spec, const std::string& bind, uint16_t port,
                                                        ControlChannel* control, const VerbsOptions& verbs);
  ~Target();

  // Answers "prepare", then serves "connected", windows and "finish". An error that ends the measurement has been told
  // to the client; the status is not OK only when the client is gone or breaks the protocol.
  absl::Status Serve();

 private:
  struct Accepted;
  Target(std::unique_ptr<DataPath> path, ControlChannel* control) : path_(std::move(path)), control_(control) {}

  absl::StatusOr<Json> Prepared() const;
  absl::StatusOr<Json> Connected(const Json& message);
  absl::Status AwaitSession();
  absl::StatusOr<Json> Begin(const Json& message);
  absl::StatusOr<Json> End(const Json& message);

  std::unique_ptr<DataPath> path_;
  ControlChannel* const control_;
  std::shared_ptr<Accepted> accepted_;
  Listening listening_;
  std::unique_ptr<ReceiveLoop> receive_loop_;
  std::unique_ptr<PingPong> ping_pong_;
  uint64_t generation_ = 0;
  absl::Status followed_;  // how the ping-pong of this window went
  SideCounters before_;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_TARGET_H_
