// What the two sides tell each other inside the connection manager's messages. Bytes in, bytes out.
//
// A request has room for 56 bytes, a session's hello for up to 1024: so the hello goes in pieces, one a request, and
// all but the last piece are answered by a rejection that asks for the next one. No queue pair takes part until the
// hello is whole, so the acceptor can still choose the lane, and a stale request configures nothing: the nonce, drawn
// anew for each queue pair, ties the pieces and the answer together. What the acceptor's session replies is the first
// message on the new connection.
#ifndef MCP_TRANSPORTS_VERBS_HANDSHAKE_H_
#define MCP_TRANSPORTS_VERBS_HANDSHAKE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/memory/remote_window.h"
#include "transports/verbs/address.h"

namespace mcp::internal {

inline constexpr size_t kConnectDataMax = 56;
inline constexpr size_t kAcceptDataMax = 196;
inline constexpr size_t kRejectDataMax = 148;

// One piece of a hello.
//    0 u32 magic  4 u8 version  5 u8 path MTU (ibv_mtu)  6 u8 device  7 u8 bytes of this piece
//    8 u64 nonce  16 u16 length of the hello  18 u16 offset of this piece  20 u8 credits  21 the piece
inline constexpr size_t kHelloPieceMax = kConnectDataMax - 21;

// Messages that one end has room for before it reports any of them; reports come after half of them. Less than two is
// no flow. Both ends go by the smaller of their two numbers.
inline constexpr uint8_t kCreditsMin = 2;

struct ConnectData {
  uint8_t path_mtu = 0;
  uint8_t credits = 0;
  uint8_t device = 0;  // index among the sender's devices: which of a window's rkeys it means
  uint64_t nonce = 0;
  uint16_t hello_bytes = 0;
  uint16_t offset = 0;
  absl::Span<const std::byte> piece;  // points into what was decoded, or is to be encoded
};
std::array<std::byte, kConnectDataMax> EncodeConnect(const ConnectData& data);
absl::StatusOr<ConnectData> DecodeConnect(absl::Span<const std::byte> bytes);

// What accepts a connection: the smaller path MTU, the nonce given back, and where else the acceptor listens.
//    0 to 15 as above, with the count of addresses in place of the bytes of a piece
//    16 u8 credits  17 each address: 16 bytes, IPv4 as ::ffff:a.b.c.d; u16 port
struct AcceptData {
  uint8_t path_mtu = 0;
  uint8_t credits = 0;
  uint8_t device = 0;
  uint64_t nonce = 0;
  std::vector<VerbsAddress> others;  // of its other devices; at most kDevicesMax - 1
};
inline constexpr size_t kAcceptAddressBytes = 18;
inline constexpr size_t kAcceptBytes = 17 + (kDevicesMax - 1) * kAcceptAddressBytes;
static_assert(kAcceptBytes <= kAcceptDataMax);
std::array<std::byte, kAcceptBytes> EncodeAccept(const AcceptData& data);
absl::StatusOr<AcceptData> DecodeAccept(absl::Span<const std::byte> bytes);

// A rejection that asks for the next piece of the hello, or says why there will be no connection.
struct RejectData {
  bool next_piece = false;
  uint64_t nonce = 0;   // of what was asked
  uint16_t offset = 0;  // next_piece: where it begins
  std::string reason;   // cut to what fits
};
std::string EncodeReject(const RejectData& data);
absl::StatusOr<RejectData> DecodeReject(absl::Span<const std::byte> bytes);

// What goes with every message, in its immediate data.
enum class MessageType : uint8_t {
  kPlain = 1,      // a message of the session
  kWithWrite = 2,  // the same, behind the write that it came with
  kCredit = 3,     // nothing but the credit
  kWelcome = 4,    // the acceptor's reply hello: the first message
  kGoodbye = 5,    // why the peer closes, as text: the last
};
struct Immediate {
  MessageType type = MessageType::kPlain;
  uint32_t credit = 0;  // messages that the receiver may send beyond what it knew; below 65536
};
inline uint32_t EncodeImmediate(const Immediate& immediate) {
  return static_cast<uint32_t>(immediate.type) << 28 | immediate.credit;
}
// False: no correct peer says that.
inline bool DecodeImmediate(uint32_t bits, Immediate* immediate) {
  const uint32_t type = bits >> 28;
  if (type < 1 || type > 5 || (bits & 0x0fff0000) != 0) return false;
  *immediate = {static_cast<MessageType>(type), bits & 0xffff};
  return true;
}

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_HANDSHAKE_H_
