// The steps of a check that need mcp itself: what a client of mcp-perf does, in pieces.
//
// Thread rule: one thread.
#ifndef MCP_TOOLS_MCP_INFO_PEER_PROBE_H_
#define MCP_TOOLS_MCP_INFO_PEER_PROBE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/engine.h"
#include "tools/mcp_info/options.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/measurement.h"

namespace mcp::info {

struct TransferFacts {
  std::string transport;
  std::string text;  // for people
};

class PeerProbe {
 public:
  ~PeerProbe();

  // A session of mcp over TCP, as mcp-perf's control session is.
  absl::Status Connect(const std::string& host, uint16_t port);
  // mcp-perf's greeting; returns who answered.
  absl::StatusOr<std::string> Hello();
  // The server has said that it serves another client.
  bool busy() const { return busy_; }
  // One small transfer with every byte verified, over the transport that the options choose.
  absl::StatusOr<TransferFacts> Transfer(const Options& options);

 private:
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<perf::ControlChannel> control_;
  perf::HostInfo self_;
  bool busy_ = false;
};

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_PEER_PROBE_H_
