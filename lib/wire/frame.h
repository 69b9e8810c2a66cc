// Session frames: what rails say to each other. Bytes in, bytes out; no I/O, no state.
//
// Every frame begins with the same 32 bytes, little-endian:
//
//    0  u8   type
//    1  u8   flags
//    2  u16  header_bytes      length of the whole header, fixed for each type
//    4  u32  header_checksum   low half of XXH3-64 over the header from byte 8 on, seeded with its first 4 bytes
//    8  u32  sequence          of this frame; in unsequenced frames, of the next sequenced frame to be sent
//   12  u32  acknowledged      the sender of this frame has taken everything before this sequence
//   16  u64  payload_checksum  XXH3-64, when kFlagPayloadChecked is set; otherwise 0
//   24  u64  payload_bytes     of what follows the header or travels beside it, or of what is announced
//   32  u64  up to six words, named by type below
#ifndef MCP_LIB_WIRE_FRAME_H_
#define MCP_LIB_WIRE_FRAME_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mcp::internal {

enum class FrameType : uint8_t {
  // Sequenced: delivered once each, in order of their sequence; sent again with the next connection when lost.
  kPut = 1,       // payload follows: place it at (key, offset)
  kTile = 2,      // payload was written to (key, offset) by the transport: verify it
  kEager = 3,     // payload follows: a whole message with (tag)
  kRequest = 4,   // a message of payload_bytes with (tag) is ready to be sent as (transfer)
  kGrant = 5,     // send (transfer) to the landing (key, window); key 0: the receive holds only (limit) bytes, give up
  kGet = 6,       // write payload_bytes of (key, offset) to the landing (landing, window)
  kRevoke = 7,    // the receiver took back the landing (key)
  kWithdraw = 8,  // the sender gave up (transfer) before it was granted
  kAbandon = 9,   // the sender will not fill the landing (key) that it was granted
  kClose = 10,    // the session ends: (code), with the reason as text behind the header
  // Unsequenced.
  kAck = 11,  // nothing but the acknowledgement, (credit) and (resend)
  // Sequenced.
  // payload follows: a whole message with (tag), of which another copy comes by another rail under the same (number)
  kHedged = 12,
  // Sequenced, and only to a peer whose hello says that it takes them. Always checked: entries say where things go.
  kPuts = 13,      // payload follows: (count) puts, as lib/wire/pack.h has them
  kMessages = 14,  // payload follows: (count) whole messages, likewise
  // Sequenced.
  kConnect = 15,  // the sender, whom the session's rails are not to connect, has work for the (rail)
};

enum FrameFlag : uint8_t {
  kFlagPayloadChecked = 1,
  kFlagReplyWanted = 2,  // kAck: answer with a kAck
  kFlagResend = 4,       // kAck: frame (resend, its low half) arrived with damaged payload for the (high half)th time:
                         // send that one again
  kFlagProbe = 8,        // kAck: posted in order, so a sequence not seen before it is lost
  kFlagLeaving = 16,     // kAck: the session has ended at the sender: the connection closes, and no other follows it
};

inline constexpr size_t kFrameCommonBytes = 32;
inline constexpr size_t kFrameWordsMax = 6;
// Where a window begins in the words of those that have one (lib/memory/remote_window.h).
inline constexpr size_t kFrameWindowWord = 3;
inline constexpr size_t kFrameHeaderBytesMax = kFrameCommonBytes + 8 * kFrameWordsMax;

struct Frame {
  FrameType type = FrameType::kAck;
  uint8_t flags = 0;
  uint32_t sequence = 0;
  uint32_t acknowledged = 0;
  uint64_t payload_checksum = 0;
  uint64_t payload_bytes = 0;
  // The words by their names; each type uses those that its line above names.
  union {
    uint64_t words[kFrameWordsMax] = {};
    struct {
      uint64_t key, offset;
    } put;  // kPut, kTile
    struct {
      uint64_t tag;
    } eager;
    struct {
      uint64_t tag, number;
    } hedged;
    struct {
      uint64_t tag, transfer;
    } request;
    struct {
      uint64_t transfer, key, limit, window[3];
    } grant;
    struct {
      uint64_t key, offset, landing, window[3];
    } get;
    struct {
      uint64_t key;
    } revoke;
    struct {
      uint64_t transfer;
    } withdraw;
    struct {
      uint64_t key;
    } abandon;
    struct {
      uint64_t code;
    } close;
    struct {
      uint64_t count;
    } pack;
    struct {
      uint64_t rail;
    } connect;
    struct {
      uint64_t credit, resend;
    } ack;
  };
};

// Number of words after the common part; what FrameHeaderBytes is made of.
size_t FrameWords(FrameType type);
inline size_t FrameHeaderBytes(FrameType type) { return kFrameCommonBytes + 8 * FrameWords(type); }
inline bool IsSequenced(FrameType type) { return type != FrameType::kAck; }
absl::string_view FrameTypeName(FrameType type);

// Writes the header and its checksum to `to`, which holds kFrameHeaderBytesMax; returns its length.
size_t EncodeFrame(const Frame& frame, std::byte* to);

enum class FrameFault : uint8_t {
  kNone,
  kDamaged,    // too short, or the checksum does not hold: the bytes changed on the way
  kViolation,  // intact, and not something a correct peer says
};

// Reads a header. On kNone, `*header_bytes` is where the payload begins. Values are checked for their form (type,
// flags, lengths); what they refer to is the caller's to check.
FrameFault DecodeFrame(absl::Span<const std::byte> bytes, Frame* frame, size_t* header_bytes);
// The violation in words, naming the field and value.
absl::Status DescribeViolation(absl::Span<const std::byte> bytes);

}  // namespace mcp::internal

#endif  // MCP_LIB_WIRE_FRAME_H_
