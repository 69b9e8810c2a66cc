// Where memory is: the NUMA node of its pages, as one byte, so that what depends on it is one look-up.
//
// Thread rule: any thread.
#ifndef MCP_LIB_MEMORY_MEMORY_NODE_H_
#define MCP_LIB_MEMORY_MEMORY_NODE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mcp::internal {

// The number of a node plus one.
using MemoryNode = uint8_t;
// Not known, or more than one.
inline constexpr MemoryNode kNoNode = 0;
// What a MemoryNode can be: nodes of higher numbers are not known.
inline constexpr size_t kMemoryNodes = 64;

constexpr MemoryNode MemoryNodeOf(int number) {
  return number >= 0 && number + 1 < static_cast<int>(kMemoryNodes) ? static_cast<MemoryNode>(number + 1) : kNoNode;
}

// From each node to a device, as firmware states it (ACPI specification, System Locality Information Table). 0: not
// known.
using NodeDistances = std::array<uint8_t, kMemoryNodes>;
// To a device of the same node.
inline constexpr uint8_t kOwnNodeDistance = 10;

// Of pages spread over the range, as the kernel has them at this moment; none is brought in. One that is not there, or
// is no page of the kernel's (memory of a GPU), leaves the node unknown. Any other error: the kernel does not tell.
// One system call.
absl::StatusOr<MemoryNode> NodeOfMemory(absl::Span<const std::byte> range);

// Of what move_pages(2) says of pages: a node, or an error, each.
MemoryNode CommonNode(absl::Span<const int> page_nodes);

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_MEMORY_NODE_H_
