#include "lib/wire/hello.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"

namespace mcp::internal {
namespace {

constexpr size_t kChecksumOffset = kHelloBytes - 8;
constexpr uint64_t kFeaturesKnown = kFeatureChecksum | kFeatureOneSided;

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat("handshake: ", what)); }

}  // namespace

std::array<std::byte, kHelloBytes> EncodeHello(const Hello& hello) {
  std::array<std::byte, kHelloBytes> bytes{};
  std::byte* to = bytes.data();
  StoreLittleEndian<uint32_t>(to, kHelloMagic);
  StoreLittleEndian<uint16_t>(to + 4, kHelloVersion);
  StoreLittleEndian<uint16_t>(to + 6, kHelloBytes);
  StoreLittleEndian<uint64_t>(to + 8, hello.features);
  StoreLittleEndian<uint64_t>(to + 16, hello.engine_id);
  StoreLittleEndian<uint64_t>(to + 24, hello.session_token);
  StoreLittleEndian<uint16_t>(to + 32, hello.rail);
  StoreLittleEndian<uint16_t>(to + 34, hello.rails);
  StoreLittleEndian<uint32_t>(to + 36, hello.generation);
  StoreLittleEndian<uint32_t>(to + 40, hello.peer_timeout_ms);
  StoreLittleEndian<uint32_t>(to + 44, hello.outstanding_max);
  StoreLittleEndian<uint64_t>(to + 48, hello.eager_credit_bytes);
  StoreLittleEndian<uint64_t>(to + 56, hello.abilities);
  StoreLittleEndian<uint32_t>(to + 64, hello.acknowledged);
  StoreLittleEndian<uint32_t>(to + 68, hello.taken);
  StoreLittleEndian<uint64_t>(to + kChecksumOffset, Checksum(to, kChecksumOffset));
  return bytes;
}

absl::StatusOr<Hello> DecodeHello(absl::Span<const std::byte> bytes) {
  if (bytes.size() < 8) return Invalid(absl::StrCat("length ", bytes.size(), " is too short"));
  const std::byte* from = bytes.data();
  if (const auto magic = LoadLittleEndian<uint32_t>(from); magic != kHelloMagic) {
    return Invalid(absl::StrFormat("magic 0x%08x should be 0x%08x", magic, kHelloMagic));
  }
  if (const auto version = LoadLittleEndian<uint16_t>(from + 4); version != kHelloVersion) {
    return Invalid(absl::StrCat("version ", version, " is not spoken here, only ", kHelloVersion));
  }
  if (const auto length = LoadLittleEndian<uint16_t>(from + 6); length != kHelloBytes || bytes.size() != kHelloBytes) {
    return Invalid(absl::StrCat("length ", length, " (", bytes.size(), " received) should be ", kHelloBytes));
  }
  if (LoadLittleEndian<uint64_t>(from + kChecksumOffset) != Checksum(from, kChecksumOffset)) {
    return Invalid("the checksum does not hold");
  }
  Hello hello;
  hello.features = LoadLittleEndian<uint64_t>(from + 8);
  hello.engine_id = LoadLittleEndian<uint64_t>(from + 16);
  hello.session_token = LoadLittleEndian<uint64_t>(from + 24);
  hello.rail = LoadLittleEndian<uint16_t>(from + 32);
  hello.rails = LoadLittleEndian<uint16_t>(from + 34);
  hello.generation = LoadLittleEndian<uint32_t>(from + 36);
  hello.peer_timeout_ms = LoadLittleEndian<uint32_t>(from + 40);
  hello.outstanding_max = LoadLittleEndian<uint32_t>(from + 44);
  hello.eager_credit_bytes = LoadLittleEndian<uint64_t>(from + 48);
  hello.abilities = LoadLittleEndian<uint64_t>(from + 56);
  hello.acknowledged = LoadLittleEndian<uint32_t>(from + 64);
  hello.taken = LoadLittleEndian<uint32_t>(from + 68);
  if ((hello.features & ~kFeaturesKnown) != 0) {
    return Invalid(
        absl::StrFormat("features 0x%x has bits that version %d does not know", hello.features, kHelloVersion));
  }
  if (hello.rails == 0 || hello.rails > kRailsMax) return Invalid(absl::StrCat("rails ", hello.rails));
  if (hello.rail >= hello.rails) {
    return Invalid(absl::StrCat("rail ", hello.rail, " of ", hello.rails, " does not exist"));
  }
  if (hello.outstanding_max == 0 || hello.outstanding_max > kOutstandingMax) {
    return Invalid(absl::StrCat("outstanding_max ", hello.outstanding_max, " is not between 1 and ", kOutstandingMax));
  }
  return hello;
}

}  // namespace mcp::internal
