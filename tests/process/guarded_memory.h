// Memory that shows every byte written outside its middle: canaries on both sides, and pages without access beyond.
#ifndef MCP_TESTS_PROCESS_GUARDED_MEMORY_H_
#define MCP_TESTS_PROCESS_GUARDED_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace mcp::internal {

class GuardedMemory {
 public:
  // The middle has `size` bytes, all `inner`. It does not end at a page's end, so that canaries follow it directly.
  GuardedMemory(uint64_t size, std::byte inner);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* data() const { return middle_; }
  uint64_t size() const { return size_; }
  absl::Span<std::byte> bytes() const { return {middle_, size_}; }

  // Empty, or which canary was touched.
  std::string Touched() const;

 private:
  std::byte* mapping_ = nullptr;
  uint64_t mapping_bytes_ = 0;
  std::byte* usable_ = nullptr;  // between the pages without access
  uint64_t usable_bytes_ = 0;
  std::byte* middle_ = nullptr;
  const uint64_t size_;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_GUARDED_MEMORY_H_
