// What becomes of a connection, a lane or a device after what went wrong: one table for the statuses of work
// completions, one for the events that devices report beside them.
#ifndef MCP_TRANSPORTS_VERBS_FAULTS_H_
#define MCP_TRANSPORTS_VERBS_FAULTS_H_

#include <infiniband/verbs.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

enum class FaultAction {
  kNone,             // nothing is wrong, or nothing that the transport could do about
  kRetry,            // not an end: what it says passes by itself, or the next event says more
  kFlushed,          // follows from an end that another completion or this side has begun
  kRailLost,         // the path or the peer is gone: the connection closes with kUnavailable
  kSessionPoisoned,  // one side did what it must not: the connection closes, and trying again would not help
  kDeviceGone,       // every connection of the device closes
};

struct CompletionFault {
  ibv_wc_status status;
  FaultAction action;
  absl::StatusCode code;
  absl::string_view cause;  // the usual one, for people
};

struct AsyncFault {
  // Which objects the event is about.
  enum class Scope { kQueuePair, kWorkQueue, kCompletionQueue, kReceiveQueue, kPort, kDevice };
  ibv_event_type type;
  Scope scope;
  FaultAction action;
  absl::string_view cause;
};

// For any status, those that the table does not know included.
const CompletionFault& FaultOf(ibv_wc_status status);
const AsyncFault& FaultOf(ibv_event_type type);

// "IBV_WC_RETRY_EXC_ERR (transport retry counter exceeded, vendor 0x81): the peer ..."
absl::Status CompletionStatus(const ibv_wc& completion);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_FAULTS_H_
