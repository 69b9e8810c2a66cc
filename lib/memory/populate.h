// Brings the pages of a range in, several threads at once where there are many: clearing and mapping them is most of
// what allocating or registering gigabytes takes, and the kernel does it for one page after another on the thread that
// asks.
//
// Thread rule: any thread; blocks until all is there.
#ifndef MCP_LIB_MEMORY_POPULATE_H_
#define MCP_LIB_MEMORY_POPULATE_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace mcp::internal {

// Shorter ranges are not worth a thread: this much takes one about 70 ms.
inline constexpr uint64_t kPopulateBytesPerThread = uint64_t{128} << 20;
inline constexpr uint64_t kPopulateThreadsMax = 8;

// Contents stay as they are. 0 or an errno value: EINVAL where the kernel cannot (before Linux 5.14), EFAULT or EPERM
// where the range may not be written, ENOMEM when there is no page left. `threads` 0: as many as this thread may use
// CPUs.
int PopulatePages(absl::Span<std::byte> range, uint64_t threads = 0);

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_POPULATE_H_
