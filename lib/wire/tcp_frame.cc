#include "lib/wire/tcp_frame.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kPrefaceMagic = 0x0a7063742d70636d;  // "mcp-tcp\n"
constexpr uint64_t kReplyMagic = 0x727063742d70636d;    // "mcp-tcpr"
constexpr uint8_t kAccepted = 1;
constexpr uint8_t kRefused = 2;
constexpr uint8_t kReplySameHost = 1;

absl::Status BadField(absl::string_view what, absl::string_view field, uint64_t value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("tcp ", what, ": ", field, " is 0x", absl::Hex(value), ", expected ", expected));
}

absl::Status CheckMagicAndVersion(const std::byte* from, uint64_t magic, absl::string_view what,
                                  absl::string_view magic_text) {
  const uint64_t got = LoadLittleEndian<uint64_t>(from);
  if (got != magic) return BadField(what, "magic", got, magic_text);
  const uint16_t version = LoadLittleEndian<uint16_t>(from + 8);
  if (version != kTcpVersion) return BadField(what, "version", version, absl::StrCat(kTcpVersion));
  return absl::OkStatus();
}

}  // namespace

void EncodeTcpPreface(const TcpPreface& preface, std::byte* to) {
  StoreLittleEndian<uint64_t>(to, kPrefaceMagic);
  StoreLittleEndian<uint16_t>(to + 8, kTcpVersion);
  StoreLittleEndian<uint8_t>(to + 10, static_cast<uint8_t>(preface.role));
  StoreLittleEndian<uint8_t>(to + 11, 0);
  StoreLittleEndian<uint32_t>(to + 12, preface.hello_bytes);
  StoreLittleEndian<uint64_t>(to + 16, preface.token);
  StoreLittleEndian<uint64_t>(to + 24, preface.host_tag);
}

void EncodeTcpReply(const TcpReply& reply, std::byte* to) {
  StoreLittleEndian<uint64_t>(to, kReplyMagic);
  StoreLittleEndian<uint16_t>(to + 8, kTcpVersion);
  StoreLittleEndian<uint8_t>(to + 10, reply.accepted ? kAccepted : kRefused);
  StoreLittleEndian<uint8_t>(to + 11, reply.same_host ? kReplySameHost : 0);
  StoreLittleEndian<uint32_t>(to + 12, reply.body_bytes);
}

absl::StatusOr<TcpPreface> ParseTcpPreface(const std::byte* from) {
  absl::Status status = CheckMagicAndVersion(from, kPrefaceMagic, "preface", "\"mcp-tcp\\n\"");
  if (!status.ok()) return status;
  const uint8_t role = LoadLittleEndian<uint8_t>(from + 10);
  if (role != static_cast<uint8_t>(TcpRole::kControl) && role != static_cast<uint8_t>(TcpRole::kData)) {
    return BadField("preface", "role", role, "1 or 2");
  }
  const uint8_t reserved = LoadLittleEndian<uint8_t>(from + 11);
  if (reserved != 0) return BadField("preface", "reserved", reserved, "0");
  TcpPreface preface;
  preface.role = static_cast<TcpRole>(role);
  preface.hello_bytes = LoadLittleEndian<uint32_t>(from + 12);
  const uint32_t hello_bytes_max = preface.role == TcpRole::kControl ? kTcpHelloBytesMax : 0;
  if (preface.hello_bytes > hello_bytes_max) {
    return BadField("preface", "hello_bytes", preface.hello_bytes, absl::StrCat("at most ", hello_bytes_max));
  }
  preface.token = LoadLittleEndian<uint64_t>(from + 16);
  preface.host_tag = LoadLittleEndian<uint64_t>(from + 24);
  return preface;
}

absl::StatusOr<TcpReply> ParseTcpReply(const std::byte* from) {
  absl::Status status = CheckMagicAndVersion(from, kReplyMagic, "reply", "\"mcp-tcpr\"");
  if (!status.ok()) return status;
  const uint8_t outcome = LoadLittleEndian<uint8_t>(from + 10);
  if (outcome != kAccepted && outcome != kRefused) return BadField("reply", "outcome", outcome, "1 or 2");
  const uint8_t flags = LoadLittleEndian<uint8_t>(from + 11);
  if (flags > kReplySameHost) return BadField("reply", "flags", flags, "0 or 1");
  TcpReply reply;
  reply.accepted = outcome == kAccepted;
  reply.same_host = (flags & kReplySameHost) != 0;
  reply.body_bytes = LoadLittleEndian<uint32_t>(from + 12);
  const uint32_t body_bytes_max = reply.accepted ? kTcpHelloBytesMax : kTcpReasonBytesMax;
  if (reply.body_bytes > body_bytes_max) {
    return BadField("reply", "body_bytes", reply.body_bytes, absl::StrCat("at most ", body_bytes_max));
  }
  return reply;
}

absl::Status DescribeBadTcpFrame(const std::byte* data, size_t size) {
  if (size < kTcpFramePrefixBytes) return absl::InternalError("tcp frame: too short to be bad");
  const uint32_t body_bytes = LoadLittleEndian<uint32_t>(data);
  const uint8_t type = LoadLittleEndian<uint8_t>(data + 4);
  const uint8_t flags = LoadLittleEndian<uint8_t>(data + 5);
  const uint16_t reserved = LoadLittleEndian<uint16_t>(data + 6);
  if (type < 1 || type > 3) return BadField("frame", "type", type, "1 to 3");
  if (flags > kTcpFlagMayOvertake) return BadField("frame", "flags", flags, "0 or 1");
  if (reserved != 0) return BadField("frame", "reserved", reserved, "0");
  if (body_bytes > kTcpFrameBodyBytesMax) {
    return BadField("frame", "body_bytes", body_bytes, absl::StrCat("at most ", kTcpFrameBodyBytesMax));
  }
  if (type == static_cast<uint8_t>(TcpFrameType::kWrite)) {
    if (body_bytes < kTcpWriteFieldsBytes) {
      return BadField("write frame", "body_bytes", body_bytes, absl::StrCat("at least ", kTcpWriteFieldsBytes));
    }
    if (size >= kTcpFramePrefixBytes + kTcpWriteFieldsBytes) {
      const uint64_t length = LoadLittleEndian<uint64_t>(data + kTcpFramePrefixBytes + 16);
      if (length > kTcpWriteBytesMax) {
        return BadField("write frame", "length", length, absl::StrCat("at most ", kTcpWriteBytesMax));
      }
    }
  }
  return absl::InternalError("tcp frame: nothing is wrong with it");
}

size_t EncodeTcpGoodbye(const absl::Status& reason, std::byte* to) {
  const size_t text_bytes = std::min<size_t>(reason.message().size(), kTcpReasonBytesMax);
  EncodeTcpFramePrefix(TcpFrameType::kGoodbye, 0, static_cast<uint32_t>(4 + text_bytes), to);
  StoreLittleEndian<uint32_t>(to + kTcpFramePrefixBytes, static_cast<uint32_t>(reason.code()));
  if (text_bytes > 0) std::memcpy(to + kTcpFramePrefixBytes + 4, reason.message().data(), text_bytes);
  return kTcpFramePrefixBytes + 4 + text_bytes;
}

absl::Status ParseTcpGoodbye(absl::Span<const std::byte> body) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  if (body.size() >= 4) {
    const uint32_t value = LoadLittleEndian<uint32_t>(body.data());
    if (value >= 1 && value <= 16) code = static_cast<absl::StatusCode>(value);
    body.remove_prefix(4);
  }
  return absl::Status(code, PrintablePeerText(body));
}

std::string PrintablePeerText(absl::Span<const std::byte> text) {
  std::string printable(reinterpret_cast<const char*>(text.data()), std::min<size_t>(text.size(), kTcpReasonBytesMax));
  for (char& c : printable) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return printable;
}

}  // namespace mcp::internal
