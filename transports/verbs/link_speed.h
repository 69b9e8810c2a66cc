// How fast a port's link is. Pure functions of what libibverbs and the kernel say of it.
#ifndef MCP_TRANSPORTS_VERBS_LINK_SPEED_H_
#define MCP_TRANSPORTS_VERBS_LINK_SPEED_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace mcp::internal {

// The code of a lane's speed in an ibv_port_attr. Its first field has eight bits, and kernels write NDR there for
// whatever is faster; newer libraries have a second, which is 0 where the kernel does not fill it in.
template <class PortAttributes>
uint32_t SpeedCode(const PortAttributes& port) {
  if constexpr (requires { port.active_speed_ex; }) {
    if (port.active_speed_ex != 0) return port.active_speed_ex;
  }
  return port.active_speed;
}

// In Mb/s; 0: not known. From the codes of a PortInfo (InfiniBand Architecture Specification, 14.2.5.6) and from what
// the kernel writes to the port's file `rate`: "800 Gb/sec (4X XDR)". The faster counts: the code may have been cut
// down to NDR, and kernels write the rate of SDR for a speed that they don't know.
int64_t LinkMegabits(uint32_t speed_code, uint8_t width_code, absl::string_view rate);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_LINK_SPEED_H_
