#include "tests/support/pattern.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mcp::internal {
namespace {

constexpr size_t kWord = 8;

// The finaliser of splitmix64: every bit of seed and index reaches every bit of the word.
uint64_t WordAt(uint64_t seed, uint64_t index) {
  uint64_t word = seed + (index + 1) * 0x9e3779b97f4a7c15;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
  return word ^ (word >> 31);
}

// Calls handle(position, word's bytes, count) for each piece of the stream that lies in one word.
template <class Handle>
void ForEachWord(size_t size, uint64_t seed, uint64_t offset, Handle handle) {
  for (size_t at = 0; at < size;) {
    const uint64_t word = WordAt(seed, (offset + at) / kWord);
    std::byte bytes[kWord];
    std::memcpy(bytes, &word, kWord);
    const size_t skip = (offset + at) % kWord;
    const size_t count = std::min(kWord - skip, size - at);
    if (!handle(at, bytes + skip, count)) return;
    at += count;
  }
}

}  // namespace

void FillPattern(absl::Span<std::byte> bytes, uint64_t seed, uint64_t offset) {
  ForEachWord(bytes.size(), seed, offset, [&](size_t at, const std::byte* word, size_t count) {
    std::memcpy(&bytes[at], word, count);
    return true;
  });
}

std::string PatternMismatch(absl::Span<const std::byte> bytes, uint64_t seed, uint64_t offset) {
  std::string mismatch;
  ForEachWord(bytes.size(), seed, offset, [&](size_t at, const std::byte* word, size_t count) {
    if (std::memcmp(&bytes[at], word, count) == 0) return true;
    size_t i = 0;
    while (bytes[at + i] == word[i]) ++i;
    mismatch = absl::StrFormat("byte %u of %u is 0x%02x, not 0x%02x", at + i, bytes.size(),
                               static_cast<unsigned>(bytes[at + i]), static_cast<unsigned>(word[i]));
    return false;
  });
  return mismatch;
}

std::string ValueMismatch(absl::Span<const std::byte> bytes, std::byte value) {
  const auto other = std::find_if(bytes.begin(), bytes.end(), [value](std::byte byte) { return byte != value; });
  if (other == bytes.end()) return "";
  return absl::StrFormat("byte %u of %u is 0x%02x, not 0x%02x", other - bytes.begin(), bytes.size(),
                         static_cast<unsigned>(*other), static_cast<unsigned>(value));
}

}  // namespace mcp::internal
