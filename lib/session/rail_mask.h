// A set of a session's rails, a bit each.
#ifndef MCP_LIB_SESSION_RAIL_MASK_H_
#define MCP_LIB_SESSION_RAIL_MASK_H_

#include <cstdint>

#include "lib/wire/hello.h"

namespace mcp::internal {

using RailMask = uint32_t;
static_assert(kRailsMax <= 32);

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_RAIL_MASK_H_
