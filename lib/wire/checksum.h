// XXH3-64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), with the widest vector unit of this CPU.
#ifndef MCP_LIB_WIRE_CHECKSUM_H_
#define MCP_LIB_WIRE_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

namespace mcp::internal {

// Thread-safe. About 5 ns at 64 bytes; memory-bound from a few KiB.
uint64_t Checksum(const std::byte* bytes, size_t size);

// The same, beginning from a seed: for input of up to 240 bytes.
uint64_t SeededChecksum(const std::byte* bytes, size_t size, uint64_t seed);

}  // namespace mcp::internal

#endif  // MCP_LIB_WIRE_CHECKSUM_H_
