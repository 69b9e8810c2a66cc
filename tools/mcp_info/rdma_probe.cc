// RDMA's own address resolution, as a connection would do it. Without librdmacm there is none.
#include "tools/mcp_info/network_probe.h"

#ifdef MCP_INFO_HAS_VERBS
#include <fcntl.h>
#include <poll.h>
#include <rdma/rdma_cma.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace mcp::info {
namespace {

using Channel = std::unique_ptr<rdma_event_channel, decltype(&rdma_destroy_event_channel)>;
using Identifier = std::unique_ptr<rdma_cm_id, decltype(&rdma_destroy_id)>;

absl::Status LastError(const char* call) {
  return absl::UnavailableError(absl::StrCat(call, ": ", std::strerror(errno)));
}

absl::Status Await(rdma_event_channel* channel, rdma_cm_event_type wanted, std::chrono::milliseconds timeout) {
  pollfd waiting = {channel->fd, POLLIN, 0};
  const int ready = poll(&waiting, 1, static_cast<int>(timeout.count()) + 1000);
  if (ready < 0) return LastError("poll");
  if (ready == 0) return absl::DeadlineExceededError(absl::StrCat("no event in ", timeout.count(), " ms"));
  rdma_cm_event* event = nullptr;
  if (rdma_get_cm_event(channel, &event) != 0) return LastError("rdma_get_cm_event");
  const rdma_cm_event_type type = event->event;
  const int status = event->status;
  rdma_ack_cm_event(event);
  if (type == wanted) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(rdma_event_str(type), ": ", std::strerror(std::abs(status))));
}

}  // namespace

absl::StatusOr<RdmaRoute> ResolveRdma(const Endpoint& to, std::chrono::milliseconds timeout) {
  const Channel channel(rdma_create_event_channel(), rdma_destroy_event_channel);
  if (!channel) return LastError("rdma_create_event_channel");
  rdma_cm_id* made = nullptr;
  if (rdma_create_id(channel.get(), &made, nullptr, RDMA_PS_TCP) != 0) return LastError("rdma_create_id");
  const Identifier id(made, rdma_destroy_id);
  const int timeout_ms = static_cast<int>(timeout.count());
  if (rdma_resolve_addr(id.get(), nullptr, const_cast<sockaddr*>(to.get()), timeout_ms) != 0) {
    return LastError("rdma_resolve_addr");
  }
  if (absl::Status status = Await(channel.get(), RDMA_CM_EVENT_ADDR_RESOLVED, timeout); !status.ok()) return status;
  if (rdma_resolve_route(id.get(), timeout_ms) != 0) return LastError("rdma_resolve_route");
  if (absl::Status status = Await(channel.get(), RDMA_CM_EVENT_ROUTE_RESOLVED, timeout); !status.ok()) return status;
  return RdmaRoute{ibv_get_device_name(id->verbs->device), id->port_num};
}

}  // namespace mcp::info

#else

namespace mcp::info {

absl::StatusOr<RdmaRoute> ResolveRdma(const Endpoint&, std::chrono::milliseconds) {
  return absl::UnimplementedError("this build has no librdmacm");
}

}  // namespace mcp::info

#endif
