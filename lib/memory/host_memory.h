// Host memory for payload: page-aligned, zeroed, touched (no page fault later), on huge pages where there are any.
//
// A move-only value; the destructor gives the memory back. Const members from any thread.
#ifndef MCP_LIB_MEMORY_HOST_MEMORY_H_
#define MCP_LIB_MEMORY_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace mcp::internal {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

enum class PageKind : uint8_t {
  kHuge,         // from the reserved pool (vm.nr_hugepages); never swapped
  kTransparent,  // plain, with huge pages advised: the kernel may give some
  kPlain,
};

class HostMemory {
 public:
  HostMemory() = default;
  HostMemory(HostMemory&& other) noexcept { *this = std::move(other); }
  HostMemory& operator=(HostMemory&& other) noexcept;
  ~HostMemory() { Reset(); }

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }                  // as asked for
  uint64_t mapped_bytes() const { return mapped_bytes_; }  // rounded up to pages
  PageKind page_kind() const { return page_kind_; }
  // Why the memory is not on huge pages; empty when it is, or is smaller than one.
  const std::string& note() const { return note_; }

  void Reset();

 private:
  friend absl::StatusOr<HostMemory> AllocateHostMemory(uint64_t size, bool pin);

  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t mapped_bytes_ = 0;
  PageKind page_kind_ = PageKind::kPlain;
  std::string note_;
};

// kResourceExhausted when there is no memory; with `pin`, kFailedPrecondition when the limit on locked memory forbids
// it (memlock.h). Takes about 0.3 s a GiB: the kernel clears the pages.
absl::StatusOr<HostMemory> AllocateHostMemory(uint64_t size, bool pin);

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_HOST_MEMORY_H_
