#include "tools/mcp_perf/sizes.h"

#include <array>
#include <cstdio>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace mcp::perf {
namespace {

absl::Status Malformed(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a size (bytes, with K, M or G for powers of 1024: 64, 4K, 1M, 64:1M)"));
}

absl::Status AppendRange(absl::string_view text, std::vector<uint64_t>& sizes) {
  const size_t colon = text.find(':');
  const absl::StatusOr<uint64_t> low = ParseSize(text.substr(0, colon));
  if (!low.ok()) return low.status();
  const absl::StatusOr<uint64_t> high = ParseSize(text.substr(colon + 1));
  if (!high.ok()) return high.status();
  if (*low > *high) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": the first size is larger than the second"));
  }
  for (uint64_t size = *low; size <= *high; size *= 2) sizes.push_back(size);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(absl::string_view text) {
  absl::string_view digits = text;
  int shift = 0;
  if (!digits.empty()) {
    switch (absl::ascii_toupper(static_cast<unsigned char>(digits.back()))) {
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
      default:
        break;
    }
    if (shift != 0) digits.remove_suffix(1);
  }
  uint64_t count = 0;
  // SimpleAtoi alone would take signs and blanks.
  for (const char digit : digits) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(digit))) return Malformed(text);
  }
  if (!absl::SimpleAtoi(digits, &count)) return Malformed(text);
  if (count == 0 || count > (kSizeMax >> shift)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is outside 1 byte to ", FormatSize(kSizeMax)));
  }
  return count << shift;
}

absl::StatusOr<std::vector<uint64_t>> ParseSizes(absl::string_view text) {
  std::vector<uint64_t> sizes;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (part.find(':') != absl::string_view::npos) {
      if (const absl::Status status = AppendRange(part, sizes); !status.ok()) return status;
    } else {
      const absl::StatusOr<uint64_t> size = ParseSize(part);
      if (!size.ok()) return size.status();
      sizes.push_back(*size);
    }
    if (sizes.size() > kSizesMax) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kSizesMax, " sizes"));
    }
  }
  return sizes;
}

std::string FormatSize(uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.4g %s", value, kUnits[unit]);
  return text.data();
}

}  // namespace mcp::perf
