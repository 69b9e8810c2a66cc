// What is in the buffers, and the check that what arrived is what was sent.
//
// Before an operation, its slot holds the complement of what is due there: every byte differs from what must arrive, so
// a byte that was never written is found whatever the data is.
#ifndef MCP_TOOLS_MCP_PERF_PATTERN_H_
#define MCP_TOOLS_MCP_PERF_PATTERN_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "tools/mcp_perf/options.h"

namespace mcp::perf {

// Fills `bytes` bytes. kNotFound and the like for a file that cannot be read.
absl::Status FillSource(const DataSpec& spec, uint64_t seed, std::byte* data, uint64_t bytes);

// XXH3-64: what two sides compare to know that they hold the same source.
uint64_t Digest(const std::byte* data, uint64_t bytes);

// Makes every byte of the slot differ from `due`.
void ArmSlot(std::byte* slot, const std::byte* due, uint64_t bytes);

// The last bytes alone, at most 8: what a side that polls for an operation's arrival looks at.
void ArmLastBytes(std::byte* slot, const std::byte* due, uint64_t bytes);

// Whether they are there. Made once for an operation, asked very often, and part of its latency in the end.
class LastBytes {
 public:
  LastBytes(const std::byte* slot, const std::byte* due, uint64_t bytes)
      : size_(std::min<uint64_t>(bytes, sizeof(uint64_t))), at_(slot + bytes - size_) {
    std::memcpy(&due_, due + bytes - size_, size_);
  }

  bool Arrived() const {
    // The transport, or the kernel for it, writes here: every time is another look at memory.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    uint64_t there = 0;
    if (size_ == sizeof(there)) {
      std::memcpy(&there, at_, sizeof(there));
    } else {
      std::memcpy(&there, at_, size_);
    }
    return there == due_;
  }

 private:
  const uint64_t size_;
  const std::byte* const at_;
  uint64_t due_ = 0;
};

struct Difference {
  uint64_t offset = 0;  // of the first byte that differs
  std::byte got{};
  std::byte want{};
};

// Compares the slot with `want` and arms it for `due`: one pass, in blocks that stay in the first-level cache.
std::optional<Difference> CheckAndArmSlot(std::byte* slot, const std::byte* want, const std::byte* due, uint64_t bytes);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_PATTERN_H_
