// Session frames: whatever arrives is decoded or refused, and what is decoded encodes to the same header.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "lib/wire/frame.h"

namespace mcp::internal {
namespace {

constexpr size_t kChecksumOffset = 4;

void Check(const std::vector<std::byte>& bytes) {
  Frame frame;
  size_t header_bytes = 0;
  switch (DecodeFrame(bytes, &frame, &header_bytes)) {
    case FrameFault::kDamaged:
      return;
    case FrameFault::kViolation:
      if (DescribeViolation(bytes).ok()) std::abort();
      return;
    case FrameFault::kNone:
      break;
  }
  std::byte encoded[kFrameHeaderBytesMax];
  if (header_bytes > bytes.size() || EncodeFrame(frame, encoded) != header_bytes) std::abort();
  if (std::memcmp(encoded, bytes.data(), header_bytes) != 0) std::abort();
}

// No fuzzer guesses a checksum: make it hold, so that what lies behind it is reached.
void Seal(std::vector<std::byte>* bytes) {
  if (bytes->size() < kFrameCommonBytes) return;
  const size_t header_bytes = LoadLittleEndian<uint16_t>(bytes->data() + 2);
  if (header_bytes < kFrameCommonBytes || header_bytes > std::min(bytes->size(), kFrameHeaderBytesMax)) return;
  StoreLittleEndian<uint32_t>(bytes->data() + kChecksumOffset, 0);
  const auto checksum = static_cast<uint32_t>(
      SeededChecksum(bytes->data() + 8, header_bytes - 8, LoadLittleEndian<uint32_t>(bytes->data())));
  StoreLittleEndian<uint32_t>(bytes->data() + kChecksumOffset, checksum);
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
