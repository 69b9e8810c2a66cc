// Sizes and durations, as numbers and as text.
#ifndef MCP_LIB_BASE_UNITS_H_
#define MCP_LIB_BASE_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mcp::internal {

inline constexpr uint64_t kKiB = uint64_t{1} << 10;
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;
inline constexpr uint64_t kTiB = uint64_t{1} << 40;

inline constexpr int64_t kNsPerUs = 1'000;
inline constexpr int64_t kNsPerMs = 1'000'000;
inline constexpr int64_t kNsPerS = 1'000'000'000;

// A whole number, with a suffix of powers of 1024: K, M, G, T, also as "KiB", in either case. "64K", "1MiB", "512",
// "512B". kInvalidArgument for anything else, kOutOfRange from 2^64 on.
absl::StatusOr<uint64_t> ParseBytes(absl::string_view text);

// "512 B", "64 KiB", "1.5 MiB": the largest unit that fits, one decimal where it is not exact.
std::string FormatBytes(uint64_t bytes);

}  // namespace mcp::internal

#endif  // MCP_LIB_BASE_UNITS_H_
