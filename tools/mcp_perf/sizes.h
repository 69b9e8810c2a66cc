// Sizes as people write them: "64", "4K", "1M,16M", "64:1M" (powers of two).
#ifndef MCP_TOOLS_MCP_PERF_SIZES_H_
#define MCP_TOOLS_MCP_PERF_SIZES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mcp::perf {

inline constexpr uint64_t kSizeMax = uint64_t{16} << 30;  // bytes of one operation
inline constexpr size_t kSizesMax = 1024;                 // entries of one --size

// Bytes, with a K, M or G suffix (powers of 1024). 1 to kSizeMax.
absl::StatusOr<uint64_t> ParseSize(absl::string_view text);

// "S[,S...]" where each S is a size or "MIN:MAX": MIN, 2 MIN, 4 MIN and so on up to MAX.
absl::StatusOr<std::vector<uint64_t>> ParseSizes(absl::string_view text);

// "64 B", "4 KiB", "1.5 MiB".
std::string FormatSize(uint64_t bytes);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_SIZES_H_
