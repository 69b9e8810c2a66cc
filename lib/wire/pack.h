// Small operations of one kind in one frame. The payload of a kPuts or kMessages frame is `count` entries, each the
// words that the frame of one such operation has (key and offset, or tag), its payload_bytes as another word, then that
// many bytes. Nothing is aligned, and nothing is left over behind the last.
//
// Bytes in, bytes out. What an entry says is hostile until its lengths are held against what is there, which Next does,
// and what it refers to is resolved, which is the caller's.
#ifndef MCP_LIB_WIRE_PACK_H_
#define MCP_LIB_WIRE_PACK_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "lib/wire/bytes.h"
#include "lib/wire/frame.h"

namespace mcp::internal {

// The frame that carries many of them; kAck where there is none.
constexpr FrameType PackOf(FrameType type) {
  if (type == FrameType::kPut) return FrameType::kPuts;
  if (type == FrameType::kEager) return FrameType::kMessages;
  return FrameType::kAck;
}

constexpr bool IsPack(FrameType type) { return type == FrameType::kPuts || type == FrameType::kMessages; }

// What an entry takes beside its payload.
constexpr size_t PackEntryBytes(FrameType pack) { return pack == FrameType::kPuts ? 24 : 16; }

struct PackEntry {
  uint64_t words[2] = {};
  const std::byte* payload = nullptr;
  uint64_t payload_bytes = 0;
};

// Writes an entry of PackEntryBytes + payload_bytes; returns its end.
inline std::byte* EncodePackEntry(FrameType pack, const PackEntry& entry, std::byte* to) {
  StoreLittleEndian<uint64_t>(to, entry.words[0]);
  if (pack == FrameType::kPuts) StoreLittleEndian<uint64_t>(to + 8, entry.words[1]);
  to += PackEntryBytes(pack);
  StoreLittleEndian<uint64_t>(to - 8, entry.payload_bytes);
  if (entry.payload_bytes > 0) std::memcpy(to, entry.payload, entry.payload_bytes);
  return to + entry.payload_bytes;
}

class PackReader {
 public:
  PackReader(FrameType pack, absl::Span<const std::byte> bytes) : pack_(pack), bytes_(bytes) {}

  // False: what is left does not hold an entry and its payload.
  bool Next(PackEntry* entry) {
    const size_t fields = PackEntryBytes(pack_);
    if (bytes_.size() < fields) return false;
    entry->words[0] = LoadLittleEndian<uint64_t>(bytes_.data());
    if (pack_ == FrameType::kPuts) entry->words[1] = LoadLittleEndian<uint64_t>(bytes_.data() + 8);
    entry->payload_bytes = LoadLittleEndian<uint64_t>(bytes_.data() + fields - 8);
    bytes_.remove_prefix(fields);
    if (entry->payload_bytes > bytes_.size()) return false;
    entry->payload = bytes_.data();
    bytes_.remove_prefix(entry->payload_bytes);
    return true;
  }

  size_t left() const { return bytes_.size(); }

 private:
  const FrameType pack_;
  absl::Span<const std::byte> bytes_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_WIRE_PACK_H_
