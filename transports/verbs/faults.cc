#include "transports/verbs/faults.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mcp::internal {
namespace {

using Code = absl::StatusCode;
using Action = FaultAction;
using Scope = AsyncFault::Scope;

constexpr CompletionFault kCompletionFaults[] = {
    {IBV_WC_SUCCESS, Action::kNone, Code::kOk, ""},
    // This side's work requests. None of them can be right on another try.
    {IBV_WC_LOC_LEN_ERR, Action::kSessionPoisoned, Code::kInternal, "a message was longer than the receive buffer"},
    {IBV_WC_LOC_QP_OP_ERR, Action::kSessionPoisoned, Code::kInternal, "the device refused the work request"},
    {IBV_WC_LOC_EEC_OP_ERR, Action::kSessionPoisoned, Code::kInternal, "reliable datagrams are not used"},
    {IBV_WC_LOC_PROT_ERR, Action::kSessionPoisoned, Code::kInternal, "local memory is not registered, or no longer"},
    {IBV_WC_MW_BIND_ERR, Action::kSessionPoisoned, Code::kInternal, "a memory window could not be bound"},
    {IBV_WC_LOC_ACCESS_ERR, Action::kSessionPoisoned, Code::kInternal, "local memory may not be written"},
    {IBV_WC_LOC_RDD_VIOL_ERR, Action::kSessionPoisoned, Code::kInternal, "reliable datagrams are not used"},
    {IBV_WC_INV_EECN_ERR, Action::kSessionPoisoned, Code::kInternal, "reliable datagrams are not used"},
    {IBV_WC_INV_EEC_STATE_ERR, Action::kSessionPoisoned, Code::kInternal, "reliable datagrams are not used"},
    {IBV_WC_TM_ERR, Action::kSessionPoisoned, Code::kInternal, "tag matching is not used"},
    {IBV_WC_TM_RNDV_INCOMPLETE, Action::kSessionPoisoned, Code::kInternal, "tag matching is not used"},
    // What the peer's device answered.
    {IBV_WC_BAD_RESP_ERR, Action::kSessionPoisoned, Code::kInternal, "the peer's device broke the protocol"},
    {IBV_WC_REM_INV_REQ_ERR, Action::kSessionPoisoned, Code::kInternal, "the peer's device refused the request"},
    {IBV_WC_REM_ACCESS_ERR, Action::kSessionPoisoned, Code::kPermissionDenied,
     "the remote memory was taken back, or was never granted for this"},
    {IBV_WC_REM_INV_RD_REQ_ERR, Action::kSessionPoisoned, Code::kInternal, "reliable datagrams are not used"},
    {IBV_WC_REM_OP_ERR, Action::kRailLost, Code::kUnavailable, "the peer's device failed"},
    {IBV_WC_REM_ABORT_ERR, Action::kRailLost, Code::kUnavailable, "the peer's device gave the request up"},
    // The path.
    {IBV_WC_RETRY_EXC_ERR, Action::kRailLost, Code::kUnavailable,
     "the peer does not answer: it is gone, or the path to it is"},
    {IBV_WC_RNR_RETRY_EXC_ERR, Action::kRailLost, Code::kUnavailable, "the peer has no receive buffer left"},
    {IBV_WC_RESP_TIMEOUT_ERR, Action::kRailLost, Code::kUnavailable, "the peer did not answer in time"},
    {IBV_WC_WR_FLUSH_ERR, Action::kFlushed, Code::kUnavailable, "the queue pair had failed before"},
    // The device.
    {IBV_WC_FATAL_ERR, Action::kDeviceGone, Code::kUnavailable, "the device failed"},
    {IBV_WC_GENERAL_ERR, Action::kRailLost, Code::kUnavailable, "the device could not do it"},
};

constexpr CompletionFault kUnknownCompletion = {IBV_WC_GENERAL_ERR, Action::kRailLost, Code::kUnavailable,
                                                "this version does not know the status"};

constexpr AsyncFault kAsyncFaults[] = {
    {IBV_EVENT_CQ_ERR, Scope::kCompletionQueue, Action::kDeviceGone, "a completion queue overflowed or failed"},
    {IBV_EVENT_QP_FATAL, Scope::kQueuePair, Action::kRailLost, "the queue pair failed"},
    {IBV_EVENT_QP_REQ_ERR, Scope::kQueuePair, Action::kSessionPoisoned, "the peer sent what the device cannot take"},
    {IBV_EVENT_QP_ACCESS_ERR, Scope::kQueuePair, Action::kSessionPoisoned,
     "the peer tried to reach memory that it was not granted, or no longer"},
    {IBV_EVENT_COMM_EST, Scope::kQueuePair, Action::kNone, ""},
    {IBV_EVENT_SQ_DRAINED, Scope::kQueuePair, Action::kNone, ""},
    {IBV_EVENT_PATH_MIG, Scope::kQueuePair, Action::kNone, ""},
    {IBV_EVENT_PATH_MIG_ERR, Scope::kQueuePair, Action::kRetry, "the alternate path failed"},
    {IBV_EVENT_QP_LAST_WQE_REACHED, Scope::kQueuePair, Action::kFlushed, "the queue pair takes in nothing any more"},
    {IBV_EVENT_DEVICE_FATAL, Scope::kDevice, Action::kDeviceGone, "the device failed"},
    {IBV_EVENT_PORT_ACTIVE, Scope::kPort, Action::kNone, "the link is up"},
    // Queue pairs outlive a short loss of the link; a longer one ends in IBV_WC_RETRY_EXC_ERR where there is work, and
    // in the rail's own timeout where there is none.
    {IBV_EVENT_PORT_ERR, Scope::kPort, Action::kRetry, "the link is down"},
    {IBV_EVENT_LID_CHANGE, Scope::kPort, Action::kRetry, "the port got another address"},
    {IBV_EVENT_PKEY_CHANGE, Scope::kPort, Action::kRetry, "the port's partitions changed"},
    {IBV_EVENT_SM_CHANGE, Scope::kPort, Action::kNone, ""},
    {IBV_EVENT_CLIENT_REREGISTER, Scope::kPort, Action::kNone, ""},
    {IBV_EVENT_GID_CHANGE, Scope::kPort, Action::kRetry, "the port's addresses changed"},
    {IBV_EVENT_SRQ_ERR, Scope::kReceiveQueue, Action::kDeviceGone, "a shared receive queue failed"},
    {IBV_EVENT_SRQ_LIMIT_REACHED, Scope::kReceiveQueue, Action::kNone, ""},
    {IBV_EVENT_WQ_FATAL, Scope::kWorkQueue, Action::kRetry, "a work queue failed, and none is used here"},
};

constexpr AsyncFault kUnknownAsync = {IBV_EVENT_DEVICE_FATAL, Scope::kPort, Action::kRetry,
                                      "this version does not know the event"};

}  // namespace

const CompletionFault& FaultOf(ibv_wc_status status) {
  for (const CompletionFault& fault : kCompletionFaults) {
    if (fault.status == status) return fault;
  }
  return kUnknownCompletion;
}

const AsyncFault& FaultOf(ibv_event_type type) {
  for (const AsyncFault& fault : kAsyncFaults) {
    if (fault.type == type) return fault;
  }
  return kUnknownAsync;
}

absl::Status CompletionStatus(const ibv_wc& completion) {
  const CompletionFault& fault = FaultOf(completion.status);
  return absl::Status(fault.code, absl::StrCat(fault.cause, ": ", ibv_wc_status_str(completion.status), " (status ",
                                               static_cast<int>(completion.status), ", vendor ",
                                               absl::StrFormat("0x%x", completion.vendor_err), ")"));
}

}  // namespace mcp::internal
