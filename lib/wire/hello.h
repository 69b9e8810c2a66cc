// The handshake of a rail: one Hello each way before any frame. Bytes in, bytes out.
//
// 96 bytes, little-endian, the last 8 an XXH3-64 over the rest. The first 8 (magic, version, length) keep their place
// and meaning in every version, so that any two versions can tell each other why they do not talk.
#ifndef MCP_LIB_WIRE_HELLO_H_
#define MCP_LIB_WIRE_HELLO_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mcp::internal {

inline constexpr uint32_t kHelloMagic = 0x5350434d;  // "MCPS"
inline constexpr uint16_t kHelloVersion = 3;
inline constexpr size_t kHelloBytes = 96;
inline constexpr uint16_t kRailsMax = 8;
// A peer may not make this side keep more of its gets at once.
inline constexpr uint32_t kOutstandingMax = 65536;

enum HelloFeature : uint64_t {
  kFeatureChecksum = 1,  // payload checksums are wanted; in force if either side wants them
  // The sender's device may be written to and read from without its CPU hearing of it; in force if both sides say so
  // and payload is not checked.
  kFeatureOneSided = 2,
};

// What the sender of a hello takes beyond what it must. Nothing depends on the other side's knowing the bit: one that
// it does not know is ignored.
enum HelloAbility : uint64_t {
  kAbilityPacks = 1,  // frames of many small operations
  kAbilityHedge = 2,  // kHedged frames
};

struct Hello {
  uint64_t features = 0;
  uint64_t engine_id = 0;      // random, of the sender's engine
  uint64_t session_token = 0;  // names the session at the acceptor; 0 asks for a new one, which the reply names
  uint16_t rail = 0;           // index of this rail
  uint16_t rails = 1;          // wanted; the reply says how many are allowed
  uint32_t generation = 0;     // of the rail: grows with each attempt to connect it; 0 opens a session
  uint32_t peer_timeout_ms = 0;
  uint32_t outstanding_max = 0;     // operations that the sender may have in flight
  uint64_t eager_credit_bytes = 0;  // that the sender of this Hello can hold unmatched
  uint64_t abilities = 0;
  // Of a reconnection: the sender has taken everything before `acknowledged` of the rail's sequence, of what follows up
  // to `taken` everything but what it asks for again (kFlagResend), and nothing from there on.
  uint32_t acknowledged = 0;
  uint32_t taken = 0;
};

// Found in a refusal of a reconnection that no later one will fare better than.
inline constexpr absl::string_view kRefusalNoSuchSession = "session_token names no session of this engine";

std::array<std::byte, kHelloBytes> EncodeHello(const Hello& hello);
// kInvalidArgument naming the field and value.
absl::StatusOr<Hello> DecodeHello(absl::Span<const std::byte> bytes);

}  // namespace mcp::internal

#endif  // MCP_LIB_WIRE_HELLO_H_
