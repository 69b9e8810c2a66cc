// Exported regions as their peers hand them over: whatever arrives is parsed or refused, and what is parsed survives
// another round.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "mcp/region.h"

namespace {

constexpr size_t kChecksumBytes = 8;

void Check(const std::string& text) {
  const auto region = mcp::RemoteRegion::Parse(text);
  if (!region.ok()) return;
  if (region->Serialize() != text) std::abort();
}

// No fuzzer guesses a checksum: make it hold, so that what lies behind it is reached.
void Seal(std::string* text) {
  if (text->size() < kChecksumBytes) return;
  auto* const bytes = reinterpret_cast<std::byte*>(text->data());
  const size_t offset = text->size() - kChecksumBytes;
  mcp::internal::StoreLittleEndian<uint64_t>(bytes + offset, mcp::internal::Checksum(bytes, offset));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  Check(text);
  Seal(&text);
  Check(text);
  return 0;
}
