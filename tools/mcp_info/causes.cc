#include "tools/mcp_info/causes.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mcp::info {
namespace {

std::string ConnectCause(absl::string_view transport) {
  if (transport == "tcp") return "a firewall that lets only some ports through: data has a port of its own";
  return "RDMA's own packets are dropped on the way (RoCE v2: UDP port 4791; RoCE v1 ends at the Ethernet segment), or "
         "the server has that address on no RDMA device: see mcp-info there";
}

std::string MoveCause(absl::StatusCode code, absl::string_view transport) {
  if (code == absl::StatusCode::kDataLoss) return "something on the way, or the memory of either side, changes bytes";
  return absl::StrCat("large packets are dropped: a path MTU that is smaller than both ends think",
                      transport == "tcp" ? "" : ", or a switch that drops RoCE where it is congested");
}

}  // namespace

std::string RouteCause(absl::string_view address) {
  if (absl::StartsWithIgnoreCase(address, "fe80:") && !absl::StrContains(address, '%')) {
    return absl::StrCat("a link-local address needs its interface: ", address, "%eth0");
  }
  return "no interface is up in that network and no default route leads there: see ip route";
}

std::string TcpCause(absl::StatusCode code) {
  if (code == absl::StatusCode::kFailedPrecondition) {
    return "the host is there but nothing listens on that port: start mcp-perf there, or name its --port (a TCP port, "
           "whatever carries the data)";
  }
  if (code == absl::StatusCode::kDeadlineExceeded) return "a firewall drops the packets, or the host is down";
  return "the host is down, or a router or firewall on the way refuses: try ping and traceroute";
}

std::string HandshakeCause(absl::StatusCode code) {
  if (code == absl::StatusCode::kDeadlineExceeded) {
    return "something else listens on that port and waits to be spoken to, or the server hangs";
  }
  return "something else listens on that port, or the two versions of mcp differ too much";
}

std::string GreetingCause(absl::StatusCode code) {
  if (code == absl::StatusCode::kFailedPrecondition) return "the two versions of mcp-perf differ";
  if (code == absl::StatusCode::kDeadlineExceeded) return "what listens hangs, or speaks mcp but is no mcp-perf";
  return "what listens speaks mcp but is no mcp-perf server of this version, or as many clients wait for it as it "
         "takes";
}

std::string TransferCause(const TransferFailure& failure) {
  if (failure.stage == TransferStage::kTurn) {
    return failure.status.code() == absl::StatusCode::kDeadlineExceeded
               ? "it measures for somebody else: try again when that is over"
               : "the server ended while it served another client";
  }
  if (absl::IsAborted(failure.status)) return "the server could not do its part: see its words, and mcp-info there";
  if (absl::IsResourceExhausted(failure.status)) {
    return "a limit of this host, of locked or of free memory: mcp-info alone shows them";
  }
  switch (failure.stage) {
    case TransferStage::kTurn:
    case TransferStage::kPrepare:
      return "this host could not do its part: mcp-info alone shows what it has";
    case TransferStage::kConnect:
      return ConnectCause(failure.transport);
    case TransferStage::kMove:
      return MoveCause(failure.status.code(), failure.transport);
  }
  return "";
}

}  // namespace mcp::info
