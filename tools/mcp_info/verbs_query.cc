// What only libibverbs knows. Without it (MCP_INFO_HAS_VERBS) the facts from /sys stand alone.
#include "tools/mcp_info/collect.h"

#ifdef MCP_INFO_HAS_VERBS
#include <infiniband/verbs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transports/verbs/link_speed.h"

namespace mcp::info {
namespace {

int MtuBytes(ibv_mtu mtu) { return 128 << static_cast<int>(mtu); }

void Query(ibv_context* context, RdmaDevice& device) {
  ibv_device_attr attributes;
  if (ibv_query_device(context, &attributes) == 0) {
    device.limits = {
        absl::StrCat("max_qp ", attributes.max_qp),   absl::StrCat("max_qp_wr ", attributes.max_qp_wr),
        absl::StrCat("max_sge ", attributes.max_sge), absl::StrCat("max_cqe ", attributes.max_cqe),
        absl::StrCat("max_mr ", attributes.max_mr),   absl::StrCat("max_mw ", attributes.max_mw),
        absl::StrCat("max_srq ", attributes.max_srq), absl::StrCat("max_qp_rd_atom ", attributes.max_qp_rd_atom)};
  }
  for (Port& port : device.ports) {
    ibv_port_attr port_attributes = {};
    if (ibv_query_port(context, static_cast<uint8_t>(port.number), &port_attributes) != 0) continue;
    port.mtu_active = MtuBytes(port_attributes.active_mtu);
    port.mtu_max = MtuBytes(port_attributes.max_mtu);
    const int64_t megabits =
        internal::LinkMegabits(internal::SpeedCode(port_attributes), port_attributes.active_width, port.rate);
    port.speed_gbps = static_cast<double>(megabits) / 1000;
  }
}

void OpenAndQuery(ibv_device* found, RdmaDevice& device) {
  ibv_context* const context = ibv_open_device(found);
  if (context == nullptr) {
    device.problem = absl::StrCat("ibv_open_device: ", std::strerror(errno),
                                  " (is /dev/infiniband there, and may this user open it?)");
    return;
  }
  Query(context, device);
  ibv_close_device(context);
}

}  // namespace

void QueryVerbs(std::vector<RdmaDevice>& devices) {
  if (devices.empty()) return;
  for (RdmaDevice& device : devices) device.problem = "libibverbs does not list it (is its provider installed?)";
  int count = 0;
  ibv_device** const list = ibv_get_device_list(&count);
  if (list == nullptr) {
    for (RdmaDevice& device : devices) device.problem = absl::StrCat("ibv_get_device_list: ", std::strerror(errno));
    return;
  }
  for (int index = 0; index < count; ++index) {
    const auto known = std::find_if(devices.begin(), devices.end(), [&](const RdmaDevice& device) {
      return device.name == ibv_get_device_name(list[index]);
    });
    if (known == devices.end()) continue;
    known->problem.clear();
    OpenAndQuery(list[index], *known);
  }
  ibv_free_device_list(list);
}

}  // namespace mcp::info

#else

namespace mcp::info {

void QueryVerbs(std::vector<RdmaDevice>&) {}

}  // namespace mcp::info

#endif
