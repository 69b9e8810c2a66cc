#include "lib/memory/memory_node.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"

namespace mcp::internal {
namespace {

// Of a range, however long: enough to see memory that is interleaved, or was touched first by threads of two nodes.
constexpr uint64_t kPagesAskedMax = 16;

}  // namespace

// Unlike get_mempolicy(2), which tells of one page and brings it in, move_pages(2) without a destination takes many and
// only looks. By its number, since glibc has no function for it.
absl::StatusOr<MemoryNode> NodeOfMemory(absl::Span<const std::byte> range) {
  if (range.empty()) return kNoNode;
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = reinterpret_cast<uint64_t>(range.data()) / page_bytes;
  const uint64_t last = (reinterpret_cast<uint64_t>(range.data()) + range.size() - 1) / page_bytes;
  const uint64_t count = std::min(last - first + 1, kPagesAskedMax);
  std::array<void*, kPagesAskedMax> pages;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t page = count == 1 ? first : first + (last - first) / (count - 1) * i;
    pages[i] = reinterpret_cast<void*>((i + 1 == count ? last : page) * page_bytes);
  }
  std::array<int, kPagesAskedMax> nodes;
  if (syscall(SYS_move_pages, 0, count, pages.data(), nullptr, nodes.data(), 0) != 0) {
    const int error = errno;
    return ErrnoStatus(
        error, absl::StrCat("move_pages", error == EPERM ? " (a container's seccomp profile has to allow it)" : ""));
  }
  return CommonNode(absl::MakeConstSpan(nodes.data(), count));
}

MemoryNode CommonNode(absl::Span<const int> page_nodes) {
  if (page_nodes.empty()) return kNoNode;
  const bool same = std::all_of(page_nodes.begin(), page_nodes.end(), [&](int node) { return node == page_nodes[0]; });
  return same ? MemoryNodeOf(page_nodes[0]) : kNoNode;
}

}  // namespace mcp::internal
