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
#include "tools/mcp_info/causes.h"
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
  // One small transfer with every byte verified, over the transport that the options choose. A server that has said
  // that it serves another client is waited for, for a while.
  absl::StatusOr<TransferFacts> Transfer(const Options& options, const std::string& address);
  // Of a transfer that failed: how far it came, and what it would have gone over.
  TransferStage stage() const { return stage_; }
  const std::string& transport() const { return transport_; }

 private:
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<perf::ControlChannel> control_;
  absl::Status AwaitTurn();

  perf::HostInfo self_;
  bool busy_ = false;
  TransferStage stage_ = TransferStage::kTurn;
  std::string transport_ = "auto";
};

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_PEER_PROBE_H_
