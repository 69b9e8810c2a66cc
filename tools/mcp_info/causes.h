// What a step of a check that fails usually means, and what to try. Pure functions.
#ifndef MCP_TOOLS_MCP_INFO_CAUSES_H_
#define MCP_TOOLS_MCP_INFO_CAUSES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mcp::info {

std::string RouteCause(absl::string_view address);
std::string TcpCause(absl::StatusCode code);
std::string HandshakeCause(absl::StatusCode code);
std::string GreetingCause(absl::StatusCode code);

// How far a transfer came.
enum class TransferStage {
  kTurn,     // the server serves others
  kPrepare,  // memory and listeners, on either side
  kConnect,  // the session that is to be measured
  kMove,     // bytes
};
struct TransferFailure {
  TransferStage stage = TransferStage::kTurn;
  absl::Status status;    // kAborted: the server's own words
  std::string transport;  // that both sides had agreed on; "auto": they had not
};
std::string TransferCause(const TransferFailure& failure);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_CAUSES_H_
