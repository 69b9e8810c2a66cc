#include "transports/verbs/handshake.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/transport/transport.h"
#include "lib/wire/bytes.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kMagic = 0x5650434d;  // "MCPV"
constexpr uint8_t kVersion = 2;
constexpr size_t kPieceOffset = kConnectDataMax - kHelloPieceMax;
constexpr size_t kHeadBytes = 16;
constexpr size_t kConnectCreditsOffset = 20;
constexpr size_t kAddressesOffset = kHeadBytes + 1;
// Magic, version, what it is, nonce, offset.
constexpr size_t kRejectTextOffset = 18;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("verbs handshake: ", what));
}

absl::Status CheckHead(absl::Span<const std::byte> bytes, size_t least) {
  if (bytes.size() < least) return Invalid(absl::StrCat(bytes.size(), " bytes are less than ", least));
  if (const auto magic = LoadLittleEndian<uint32_t>(bytes.data()); magic != kMagic) {
    return Invalid(absl::StrFormat("magic 0x%08x should be 0x%08x", magic, kMagic));
  }
  if (const auto version = LoadLittleEndian<uint8_t>(bytes.data() + 4); version != kVersion) {
    return Invalid(absl::StrCat("version ", version, " is not spoken here, only ", kVersion));
  }
  return absl::OkStatus();
}

void StoreHead(std::byte* to, uint8_t path_mtu, uint8_t device, uint8_t count, uint64_t nonce) {
  StoreLittleEndian<uint32_t>(to, kMagic);
  StoreLittleEndian<uint8_t>(to + 4, kVersion);
  StoreLittleEndian<uint8_t>(to + 5, path_mtu);
  StoreLittleEndian<uint8_t>(to + 6, device);
  StoreLittleEndian<uint8_t>(to + 7, count);
  StoreLittleEndian<uint64_t>(to + 8, nonce);
}

void StoreAddress(const VerbsAddress& address, std::byte* to) {
  const absl::Span<const uint8_t> host = address.host_bytes();
  if (host.size() == 4) std::memcpy(to, kMappedIpv4Prefix.data(), kMappedIpv4Prefix.size());
  if (!host.empty()) std::memcpy(to + 16 - host.size(), host.data(), host.size());
  StoreLittleEndian<uint16_t>(to + 16, address.port());
}

VerbsAddress LoadAddress(const std::byte* from) {
  VerbsAddress address;
  if (IsMappedIpv4(from)) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET;
    std::memcpy(&in->sin_addr, from + kMappedIpv4Prefix.size(), sizeof(in->sin_addr));
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in->sin6_family = AF_INET6;
    std::memcpy(&in->sin6_addr, from, sizeof(in->sin6_addr));
  }
  address.set_port(LoadLittleEndian<uint16_t>(from + 16));
  return address;
}

absl::Status CheckEnd(uint8_t path_mtu, uint8_t device, uint8_t credits) {
  if (path_mtu < 1 || path_mtu > 5) return Invalid(absl::StrCat("path_mtu ", path_mtu, " is not between 1 and 5"));
  if (device >= kDevicesMax) return Invalid(absl::StrCat("device ", device, " is not below ", kDevicesMax));
  if (credits < kCreditsMin) return Invalid(absl::StrCat("credits ", credits, " are less than ", kCreditsMin));
  return absl::OkStatus();
}

}  // namespace

std::array<std::byte, kConnectDataMax> EncodeConnect(const ConnectData& data) {
  std::array<std::byte, kConnectDataMax> bytes{};
  StoreHead(bytes.data(), data.path_mtu, data.device, static_cast<uint8_t>(data.piece.size()), data.nonce);
  StoreLittleEndian<uint16_t>(bytes.data() + 16, data.hello_bytes);
  StoreLittleEndian<uint16_t>(bytes.data() + 18, data.offset);
  StoreLittleEndian<uint8_t>(bytes.data() + kConnectCreditsOffset, data.credits);
  std::copy(data.piece.begin(), data.piece.end(), bytes.begin() + kPieceOffset);
  return bytes;
}

absl::StatusOr<ConnectData> DecodeConnect(absl::Span<const std::byte> bytes) {
  if (absl::Status head = CheckHead(bytes, kConnectDataMax); !head.ok()) return head;
  const std::byte* from = bytes.data();
  ConnectData data;
  data.path_mtu = LoadLittleEndian<uint8_t>(from + 5);
  data.device = LoadLittleEndian<uint8_t>(from + 6);
  const size_t count = LoadLittleEndian<uint8_t>(from + 7);
  data.nonce = LoadLittleEndian<uint64_t>(from + 8);
  data.hello_bytes = LoadLittleEndian<uint16_t>(from + 16);
  data.offset = LoadLittleEndian<uint16_t>(from + 18);
  data.credits = LoadLittleEndian<uint8_t>(from + kConnectCreditsOffset);
  if (absl::Status checked = CheckEnd(data.path_mtu, data.device, data.credits); !checked.ok()) return checked;
  if (data.hello_bytes > kHelloBytesMax) return Invalid(absl::StrCat("a hello of ", data.hello_bytes, " bytes"));
  const size_t rest = data.offset <= data.hello_bytes ? data.hello_bytes - size_t{data.offset} : 0;
  if (data.offset > data.hello_bytes || data.offset % kHelloPieceMax != 0 || count != std::min(rest, kHelloPieceMax)) {
    return Invalid(
        absl::StrCat("a piece of ", count, " bytes at ", data.offset, " of a hello of ", data.hello_bytes, " bytes"));
  }
  data.piece = bytes.subspan(kPieceOffset, count);
  return data;
}

std::array<std::byte, kAcceptBytes> EncodeAccept(const AcceptData& data) {
  std::array<std::byte, kAcceptBytes> bytes{};
  const size_t count = std::min(data.others.size(), kDevicesMax - 1);
  StoreHead(bytes.data(), data.path_mtu, data.device, static_cast<uint8_t>(count), data.nonce);
  StoreLittleEndian<uint8_t>(bytes.data() + kHeadBytes, data.credits);
  for (size_t i = 0; i < count; ++i) {
    StoreAddress(data.others[i], bytes.data() + kAddressesOffset + i * kAcceptAddressBytes);
  }
  return bytes;
}

absl::StatusOr<AcceptData> DecodeAccept(absl::Span<const std::byte> bytes) {
  if (absl::Status head = CheckHead(bytes, kAcceptBytes); !head.ok()) return head;
  AcceptData data;
  data.path_mtu = LoadLittleEndian<uint8_t>(bytes.data() + 5);
  data.device = LoadLittleEndian<uint8_t>(bytes.data() + 6);
  data.nonce = LoadLittleEndian<uint64_t>(bytes.data() + 8);
  data.credits = LoadLittleEndian<uint8_t>(bytes.data() + kHeadBytes);
  if (absl::Status checked = CheckEnd(data.path_mtu, data.device, data.credits); !checked.ok()) return checked;
  const auto count = LoadLittleEndian<uint8_t>(bytes.data() + 7);
  if (count >= kDevicesMax) return Invalid(absl::StrCat("addresses ", count, " are not below ", kDevicesMax));
  for (size_t i = 0; i < count; ++i) {
    data.others.push_back(LoadAddress(bytes.data() + kAddressesOffset + i * kAcceptAddressBytes));
  }
  return data;
}

std::string EncodeReject(const RejectData& data) {
  std::byte head[kRejectTextOffset] = {};
  StoreHead(head, 0, 0, data.next_piece ? 1 : 0, data.nonce);
  StoreLittleEndian<uint16_t>(head + 16, data.offset);
  std::string bytes(reinterpret_cast<const char*>(head), kRejectTextOffset);
  bytes.append(data.reason, 0, kRejectDataMax - kRejectTextOffset - 1);
  bytes.push_back('\0');  // the connection manager pads with zeros
  return bytes;
}

absl::StatusOr<RejectData> DecodeReject(absl::Span<const std::byte> bytes) {
  if (absl::Status head = CheckHead(bytes, kRejectTextOffset); !head.ok()) return head;
  RejectData data;
  data.next_piece = LoadLittleEndian<uint8_t>(bytes.data() + 7) != 0;
  data.nonce = LoadLittleEndian<uint64_t>(bytes.data() + 8);
  data.offset = LoadLittleEndian<uint16_t>(bytes.data() + 16);
  const char* text = reinterpret_cast<const char*>(bytes.data()) + kRejectTextOffset;
  data.reason.assign(text, strnlen(text, bytes.size() - kRejectTextOffset));
  return data;
}

}  // namespace mcp::internal
