// What the TCP transport says on its sockets. Bytes in, bytes out; no I/O, no state.
//
// Each connection is two sockets. Both begin with a preface from the side that connected:
//
//    0  u64  magic        "mcp-tcp\n"
//    8  u16  version
//   10  u8   role         1 control, 2 data
//   11  u8   reserved     0
//   12  u32  hello_bytes  that follow; 0 on data
//   16  u64  token        the same on the two sockets of one connection, else random
//   24  u64  host_tag     XXH3-64 of (token, boot id): equal on one host, and tells nothing to others; 0 unknown
//
// The accepting side answers once, on control:
//
//    0  u64  magic        "mcp-tcpr"
//    8  u16  version
//   10  u8   outcome      1 accepted, 2 refused
//   11  u8   flags        1: the tags said that both ends are on one host
//   12  u32  body_bytes   the reply hello, or the reason as text
//
// From then on control carries frames, in both directions, and data nothing but the payload of writes, in the order of
// their frames:
//
//    0  u32  body_bytes
//    4  u8   type
//    5  u8   flags        1: may overtake writes that were announced before
//    6  u16  reserved     0
//    8       body         message: its bytes
//                         write: u64 key, u64 offset, u64 length, then the message that travels with it
//                         goodbye: u32 status code, then the reason as text
//
// Integers are little-endian.
#ifndef MCP_LIB_WIRE_TCP_FRAME_H_
#define MCP_LIB_WIRE_TCP_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/wire/bytes.h"

namespace mcp::internal {

inline constexpr uint16_t kTcpVersion = 1;
inline constexpr size_t kTcpPrefaceBytes = 32;
inline constexpr size_t kTcpReplyBytes = 16;
inline constexpr uint32_t kTcpHelloBytesMax = 1024;
inline constexpr uint32_t kTcpReasonBytesMax = 512;

enum class TcpRole : uint8_t { kControl = 1, kData = 2 };

struct TcpPreface {
  TcpRole role = TcpRole::kControl;
  uint32_t hello_bytes = 0;
  uint64_t token = 0;
  uint64_t host_tag = 0;
};

struct TcpReply {
  bool accepted = false;
  bool same_host = false;
  uint32_t body_bytes = 0;
};

// `to` has room for kTcpPrefaceBytes, kTcpReplyBytes.
void EncodeTcpPreface(const TcpPreface& preface, std::byte* to);
void EncodeTcpReply(const TcpReply& reply, std::byte* to);

// `from` holds kTcpPrefaceBytes, kTcpReplyBytes. kInvalidArgument names the field and its value.
absl::StatusOr<TcpPreface> ParseTcpPreface(const std::byte* from);
absl::StatusOr<TcpReply> ParseTcpReply(const std::byte* from);

enum class TcpFrameType : uint8_t { kMessage = 1, kWrite = 2, kGoodbye = 3 };

inline constexpr uint8_t kTcpFlagMayOvertake = 1;

inline constexpr uint32_t kTcpFramePrefixBytes = 8;
inline constexpr uint32_t kTcpWriteFieldsBytes = 24;
// Of a message, and of the message that travels with a write: 64 KiB of payload, and a header.
inline constexpr uint32_t kTcpMessageBytesMax = 64 * 1024 + 256;
inline constexpr uint32_t kTcpFrameBodyBytesMax = kTcpMessageBytesMax + kTcpWriteFieldsBytes;
inline constexpr uint64_t kTcpWriteBytesMax = uint64_t{1} << 40;

struct TcpFrame {
  TcpFrameType type = TcpFrameType::kMessage;
  uint8_t flags = 0;
  const std::byte* body = nullptr;  // of a write: what follows its fields
  uint32_t body_bytes = 0;
  uint64_t key = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
};

enum class TcpParse : uint8_t {
  kFrame,     // *frame is filled; *bytes is how many the frame takes
  kNeedMore,  // *bytes is how many the whole frame takes; kTcpFramePrefixBytes while that is unknown
  kBad,       // DescribeBadTcpFrame says why
};

// The frame at the start of `data`. Never reads beyond `size`.
inline TcpParse ParseTcpFrame(const std::byte* data, size_t size, TcpFrame* frame, size_t* bytes) {
  if (ABSL_PREDICT_FALSE(size < kTcpFramePrefixBytes)) {
    *bytes = kTcpFramePrefixBytes;
    return TcpParse::kNeedMore;
  }
  const uint64_t prefix = LoadLittleEndian<uint64_t>(data);
  const uint32_t body_bytes = static_cast<uint32_t>(prefix);
  const uint8_t type = static_cast<uint8_t>(prefix >> 32);
  const uint8_t flags = static_cast<uint8_t>(prefix >> 40);
  const bool write = type == static_cast<uint8_t>(TcpFrameType::kWrite);
  if (ABSL_PREDICT_FALSE(body_bytes > kTcpFrameBodyBytesMax || (prefix >> 48) != 0 || type - 1u > 2u ||
                         flags > kTcpFlagMayOvertake || (write && body_bytes < kTcpWriteFieldsBytes))) {
    return TcpParse::kBad;
  }
  *bytes = size_t{kTcpFramePrefixBytes} + body_bytes;
  if (size < *bytes) return TcpParse::kNeedMore;
  frame->type = static_cast<TcpFrameType>(type);
  frame->flags = flags;
  frame->body = data + kTcpFramePrefixBytes;
  frame->body_bytes = body_bytes;
  if (write) {
    frame->key = LoadLittleEndian<uint64_t>(frame->body);
    frame->offset = LoadLittleEndian<uint64_t>(frame->body + 8);
    frame->length = LoadLittleEndian<uint64_t>(frame->body + 16);
    frame->body += kTcpWriteFieldsBytes;
    frame->body_bytes -= kTcpWriteFieldsBytes;
    if (ABSL_PREDICT_FALSE(frame->length > kTcpWriteBytesMax)) return TcpParse::kBad;
  }
  return TcpParse::kFrame;
}

// Names the field and the value for which ParseTcpFrame said kBad.
absl::Status DescribeBadTcpFrame(const std::byte* data, size_t size);

// `to` has room for kTcpFramePrefixBytes.
inline void EncodeTcpFramePrefix(TcpFrameType type, uint8_t flags, uint32_t body_bytes, std::byte* to) {
  StoreLittleEndian<uint64_t>(to, body_bytes | uint64_t{static_cast<uint8_t>(type)} << 32 | uint64_t{flags} << 40);
}

// `to` has room for kTcpWriteFieldsBytes.
inline void EncodeTcpWriteFields(uint64_t key, uint64_t offset, uint64_t length, std::byte* to) {
  StoreLittleEndian<uint64_t>(to, key);
  StoreLittleEndian<uint64_t>(to + 8, offset);
  StoreLittleEndian<uint64_t>(to + 16, length);
}

// A whole goodbye frame, the text cut to kTcpReasonBytesMax. `to` has room for kTcpGoodbyeBytesMax; returns its length.
inline constexpr size_t kTcpGoodbyeBytesMax = kTcpFramePrefixBytes + 4 + kTcpReasonBytesMax;
size_t EncodeTcpGoodbye(const absl::Status& reason, std::byte* to);
// The peer's reason. Codes that are none become kUnavailable; text is cut and made printable.
absl::Status ParseTcpGoodbye(absl::Span<const std::byte> body);

// Text from a peer, for logs and statuses: cut to kTcpReasonBytesMax, what is not printable ASCII replaced.
std::string PrintablePeerText(absl::Span<const std::byte> text);

}  // namespace mcp::internal

#endif  // MCP_LIB_WIRE_TCP_FRAME_H_
