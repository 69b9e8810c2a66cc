#include "tests/support/pattern.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mcp::internal {
namespace {

// The stream repeats after a prime number of bytes, so that bytes which are off by a page, a tile or a stripe do not
// verify; and it can be written and compared as fast as memory goes, in unoptimised builds too.
constexpr size_t kPeriod = 65521;
constexpr size_t kWord = 8;

// The first bytes of a period.
std::vector<std::byte> Period(uint64_t seed, size_t bytes) {
  std::vector<std::byte> period((bytes + kWord - 1) / kWord * kWord);
  uint64_t state = seed;
  for (size_t at = 0; at < period.size(); at += kWord) {
    // splitmix64: every bit of seed and position reaches every bit of the word.
    uint64_t word = state += 0x9e3779b97f4a7c15;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
    word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
    word ^= word >> 31;
    std::memcpy(&period[at], &word, kWord);
  }
  return period;
}

// Calls handle(position, expected bytes, count) for pieces of the stream, until it returns false.
template <class Handle>
void ForEachPiece(size_t size, uint64_t seed, uint64_t offset, Handle handle) {
  if (size == 0) return;
  const size_t begin = offset % kPeriod;
  const std::vector<std::byte> period = Period(seed, std::min(kPeriod, begin + size));
  for (size_t at = 0; at < size;) {
    const size_t from = (begin + at) % kPeriod;
    const size_t count = std::min(kPeriod - from, size - at);
    if (!handle(at, period.data() + from, count)) return;
    at += count;
  }
}

std::string Difference(size_t at, size_t size, std::byte is, std::byte expected) {
  return absl::StrFormat("byte %u of %u is 0x%02x, not 0x%02x", at, size, static_cast<unsigned>(is),
                         static_cast<unsigned>(expected));
}

}  // namespace

void FillPattern(absl::Span<std::byte> bytes, uint64_t seed, uint64_t offset) {
  ForEachPiece(bytes.size(), seed, offset, [&](size_t at, const std::byte* expected, size_t count) {
    std::memcpy(bytes.data() + at, expected, count);
    return true;
  });
}

std::string PatternMismatch(absl::Span<const std::byte> bytes, uint64_t seed, uint64_t offset) {
  std::string mismatch;
  ForEachPiece(bytes.size(), seed, offset, [&](size_t at, const std::byte* expected, size_t count) {
    if (std::memcmp(bytes.data() + at, expected, count) == 0) return true;
    size_t i = 0;
    while (bytes[at + i] == expected[i]) ++i;
    mismatch = Difference(at + i, bytes.size(), bytes[at + i], expected[i]);
    return false;
  });
  return mismatch;
}

std::string ValueMismatch(absl::Span<const std::byte> bytes, std::byte value) {
  if (bytes.empty()) return "";
  // All bytes are the first one when each is the one before it.
  if (bytes[0] == value && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0) return "";
  size_t i = 0;
  while (bytes[i] == value) ++i;
  return Difference(i, bytes.size(), bytes[i], value);
}

}  // namespace mcp::internal
