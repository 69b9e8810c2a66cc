// The handshake: whatever arrives is decoded or refused, and what is decoded survives another round.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "lib/wire/hello.h"

namespace mcp::internal {
namespace {

constexpr size_t kChecksumOffset = kHelloBytes - 8;

void Check(const std::vector<std::byte>& bytes) {
  const auto hello = DecodeHello(bytes);
  if (!hello.ok()) return;
  if (hello->rails == 0 || hello->rails > kRailsMax || hello->rail >= hello->rails) std::abort();
  const auto encoded = EncodeHello(*hello);
  const auto again = DecodeHello(encoded);
  if (!again.ok() || EncodeHello(*again) != encoded) std::abort();
}

// No fuzzer guesses a checksum: make it hold, so that what lies behind it is reached.
void Seal(std::vector<std::byte>* bytes) {
  if (bytes->size() != kHelloBytes) return;
  StoreLittleEndian<uint64_t>(bytes->data() + kChecksumOffset, Checksum(bytes->data(), kChecksumOffset));
}

}  // namespace
}  // namespace mcp::internal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  mcp::internal::Check(bytes);
  mcp::internal::Seal(&bytes);
  mcp::internal::Check(bytes);
  return 0;
}
