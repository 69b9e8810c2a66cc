#include "lib/base/units.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mcp::internal {
namespace {

constexpr absl::string_view kUnitLetters = "KMGT";

// Powers of 1024 that a suffix stands for; -1 for no suffix that we know.
int UnitPower(absl::string_view suffix) {
  if (suffix.empty() || absl::EqualsIgnoreCase(suffix, "b")) return 0;
  if (suffix.size() != 1 && !absl::EqualsIgnoreCase(suffix.substr(1), "ib")) return -1;
  const size_t index = kUnitLetters.find(absl::ascii_toupper(static_cast<unsigned char>(suffix[0])));
  return index == absl::string_view::npos ? -1 : static_cast<int>(index) + 1;
}

}  // namespace

absl::StatusOr<uint64_t> ParseBytes(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  const int power = UnitPower(text.substr(digits));
  if (digits == 0 || power < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("size \"", text, "\": expected a whole number of bytes with an optional suffix K, M, G or T"));
  }
  uint64_t number = 0;
  const int shift = power * 10;
  if (!absl::SimpleAtoi(text.substr(0, digits), &number) || number > (std::numeric_limits<uint64_t>::max() >> shift)) {
    return absl::OutOfRangeError(absl::StrCat("size \"", text, "\" exceeds 64 bits"));
  }
  return number << shift;
}

std::string FormatBytes(uint64_t bytes) {
  int power = 0;
  while (power < static_cast<int>(kUnitLetters.size()) && (bytes >> (power * 10)) >= 1024) ++power;
  if (power == 0) return absl::StrCat(bytes, " B");
  const uint64_t unit = uint64_t{1} << (power * 10);
  const char letter = kUnitLetters[static_cast<size_t>(power) - 1];
  if (bytes % unit == 0) return absl::StrFormat("%d %ciB", bytes / unit, letter);
  return absl::StrFormat("%.1f %ciB", static_cast<double>(bytes) / static_cast<double>(unit), letter);
}

}  // namespace mcp::internal
