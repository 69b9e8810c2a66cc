// A profile from a path as it is: the same messages by each protocol in turn, over sessions of the public API, timed
// from Send to completion.
//
// Thread rule: one thread, which blocks. No lane of any engine.
#ifndef MCP_TOOLS_MCP_TUNE_LIVE_H_
#define MCP_TOOLS_MCP_TUNE_LIVE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/context/profile.h"
#include "mcp/engine.h"

namespace mcp::internal {

struct LiveOptions {
  std::string address;
  std::vector<std::string> transports = {"tcp"};  // as in EngineOptions
  int lanes = 2;
  int rails = 0;           // as in SessionOptions
  uint32_t messages = 40;  // of each size and protocol
  uint32_t octaves = 6;    // of sizes, from the smallest about which there is a choice
  std::chrono::milliseconds message_timeout{20'000};
};
inline constexpr uint32_t kLiveOctavesMax = 8;  // to 64 MiB

// The peer that `mcp-tune live` sends to: takes what comes, whatever it is.
class LiveServer {
 public:
  static absl::StatusOr<std::unique_ptr<LiveServer>> Start(const LiveOptions& options);
  std::string address() const { return listener_.address(); }

 private:
  explicit LiveServer(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

  std::unique_ptr<Engine> engine_;
  Listener listener_;
};

// One point: bulk and stream over all rails of a session. kDeadlineExceeded when a message was not taken in time.
absl::StatusOr<Profile> MeasureLive(const LiveOptions& options);

}  // namespace mcp::internal

#endif  // MCP_TOOLS_MCP_TUNE_LIVE_H_
