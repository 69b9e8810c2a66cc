// Bytes that say where they belong: a stream made from a seed, so that bytes from another operation, another offset or
// another moment do not verify.
#ifndef MCP_TESTS_SUPPORT_PATTERN_H_
#define MCP_TESTS_SUPPORT_PATTERN_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace mcp::internal {

// Writes the stream of `seed`, from its byte `offset` on.
void FillPattern(absl::Span<std::byte> bytes, uint64_t seed, uint64_t offset = 0);

// Empty when the bytes are that stream, else the first mismatch in words.
std::string PatternMismatch(absl::Span<const std::byte> bytes, uint64_t seed, uint64_t offset = 0);

// Empty when all bytes have that value, else the first that has not, in words.
std::string ValueMismatch(absl::Span<const std::byte> bytes, std::byte value);

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_PATTERN_H_
