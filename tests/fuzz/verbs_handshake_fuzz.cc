// What comes inside the connection manager's messages: whatever arrives is decoded or refused, and what is decoded
// survives another round.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/types/span.h"
#include "lib/transport/transport.h"
#include "lib/wire/bytes.h"
#include "transports/verbs/handshake.h"

namespace mcp::internal {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckConnect(absl::Span<const std::byte> bytes) {
  const auto data = DecodeConnect(bytes);
  if (!data.ok()) return;
  Require(data->credits >= kCreditsMin && data->device < kDevicesMax && data->hello_bytes <= kHelloBytesMax);
  Require(data->offset + data->piece.size() <= data->hello_bytes);
  const auto encoded = EncodeConnect(*data);
  const auto again = DecodeConnect(encoded);
  Require(again.ok() && EncodeConnect(*again) == encoded);
}

void CheckAccept(absl::Span<const std::byte> bytes) {
  const auto data = DecodeAccept(bytes);
  if (!data.ok()) return;
  Require(data->credits >= kCreditsMin && data->device < kDevicesMax && data->others.size() < kDevicesMax);
  const auto encoded = EncodeAccept(*data);
  const auto again = DecodeAccept(encoded);
  Require(again.ok() && EncodeAccept(*again) == encoded);
}

void CheckReject(absl::Span<const std::byte> bytes) {
  const auto data = DecodeReject(bytes);
  if (!data.ok()) return;
  const std::string encoded = EncodeReject(*data);
  Require(encoded.size() <= kRejectDataMax);
  const auto again = DecodeReject({reinterpret_cast<const std::byte*>(encoded.data()), encoded.size()});
  Require(again.ok() && EncodeReject(*again) == encoded);
}

void CheckImmediate(absl::Span<const std::byte> bytes) {
  Immediate immediate;
  if (bytes.size() < sizeof(uint32_t)) return;
  const auto bits = LoadLittleEndian<uint32_t>(bytes.data());
  if (DecodeImmediate(bits, &immediate)) Require(EncodeImmediate(immediate) == bits);
}

}  // namespace
}  // namespace mcp::internal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  mcp::internal::CheckConnect(bytes);
  mcp::internal::CheckAccept(bytes);
  mcp::internal::CheckReject(bytes);
  mcp::internal::CheckImmediate(bytes);
  return 0;
}
