#include "tools/mcp_perf/pattern.h"

#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mcp::perf {
namespace {

constexpr uint64_t kBlockBytes = 4096;

// splitmix64: the same bytes for the same seed on every machine, and fast enough to fill gigabytes.
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  // About normal, mean 0, deviation 1: four uniform 16-bit parts of one draw, whose sum has deviation 37837.
  float Normal() {
    const uint64_t draw = Next();
    const int64_t sum =
        static_cast<int64_t>((draw & 0xffff) + (draw >> 16 & 0xffff) + (draw >> 32 & 0xffff) + (draw >> 48));
    return static_cast<float>(sum - 131070) / 37837.0F;
  }

 private:
  uint64_t state_;
};

template <typename Word, typename Make>
void FillWords(std::byte* data, uint64_t bytes, Make make) {
  for (uint64_t offset = 0; offset < bytes; offset += sizeof(Word)) {
    const Word word = make();
    std::memcpy(data + offset, &word, std::min<uint64_t>(sizeof(Word), bytes - offset));
  }
}

absl::Status FillFromFile(const std::string& path, std::byte* data, uint64_t bytes) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("--data file:", path, ": open"));
  uint64_t read = std::fread(data, 1, bytes, file);
  const int error = std::ferror(file) ? errno : 0;
  std::fclose(file);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("--data file:", path, ": read"));
  if (read == 0) return absl::InvalidArgumentError(absl::StrCat("--data file:", path, ": the file is empty"));
  // A short file repeats.
  while (read < bytes) {
    const uint64_t more = std::min(read, bytes - read);
    std::memcpy(data + read, data, more);
    read += more;
  }
  return absl::OkStatus();
}

void Complement(std::byte* target, const std::byte* source, uint64_t bytes) {
  for (uint64_t index = 0; index < bytes; ++index) target[index] = ~source[index];
}

}  // namespace

absl::Status FillSource(const DataSpec& spec, uint64_t seed, std::byte* data, uint64_t bytes) {
  Generator generator(seed);
  switch (spec.kind) {
    case DataSpec::Kind::kRandom:
      FillWords<uint64_t>(data, bytes, [&] { return generator.Next(); });
      break;
    case DataSpec::Kind::kZeros:
      std::memset(data, 0, bytes);
      break;
    case DataSpec::Kind::kWeights:
      FillWords<float>(data, bytes, [&] { return 0.02F * generator.Normal(); });
      break;
    case DataSpec::Kind::kGradients:  // the product of two normals: most are tiny, a few are large
      FillWords<float>(data, bytes, [&] { return 1e-3F * generator.Normal() * generator.Normal(); });
      break;
    case DataSpec::Kind::kSparse:
      FillWords<float>(data, bytes, [&] { return generator.Unit() < spec.sparsity ? 0.0F : generator.Normal(); });
      break;
    case DataSpec::Kind::kFile:
      return FillFromFile(spec.path, data, bytes);
  }
  return absl::OkStatus();
}

uint64_t Digest(const std::byte* data, uint64_t bytes) { return XXH3_64bits(data, bytes); }

void ArmSlot(std::byte* slot, const std::byte* due, uint64_t bytes) { Complement(slot, due, bytes); }

void ArmLastBytes(std::byte* slot, const std::byte* due, uint64_t bytes) {
  const uint64_t last = std::min<uint64_t>(bytes, 8);
  Complement(slot + bytes - last, due + bytes - last, last);
}

std::optional<Difference> CheckAndArmSlot(std::byte* slot, const std::byte* want, const std::byte* due,
                                          uint64_t bytes) {
  std::optional<Difference> first;
  for (uint64_t offset = 0; offset < bytes; offset += kBlockBytes) {
    const uint64_t length = std::min(kBlockBytes, bytes - offset);
    if (!first && std::memcmp(slot + offset, want + offset, length) != 0) {
      const std::byte* differs = std::mismatch(slot + offset, slot + offset + length, want + offset).first;
      const uint64_t at = static_cast<uint64_t>(differs - slot);
      first = Difference{at, slot[at], want[at]};
    }
    Complement(slot + offset, due + offset, length);
  }
  return first;
}

}  // namespace mcp::perf
