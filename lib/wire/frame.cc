#include "lib/wire/frame.h"

#include "absl/strings/str_cat.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"

namespace mcp::internal {
namespace {

struct TypeTraits {
  absl::string_view name;
  uint8_t words;
  uint8_t flags_allowed;
  uint8_t flags_required = 0;
};

constexpr TypeTraits kTraits[] = {
    {"", 0, 0},
    {"put", 2, kFlagPayloadChecked},
    {"tile", 2, kFlagPayloadChecked},
    {"eager", 1, kFlagPayloadChecked},
    {"request", 2, 0},
    {"grant", 6, 0},
    {"get", 6, 0},
    {"revoke", 1, 0},
    {"withdraw", 1, 0},
    {"abandon", 1, 0},
    {"close", 1, kFlagPayloadChecked},
    {"ack", 2, kFlagReplyWanted | kFlagResend | kFlagProbe | kFlagLeaving},
    {"hedged", 2, kFlagPayloadChecked},
    {"puts", 1, kFlagPayloadChecked, kFlagPayloadChecked},
    {"messages", 1, kFlagPayloadChecked, kFlagPayloadChecked},
    {"connect", 1, 0},
};
constexpr size_t kTypeCount = sizeof(kTraits) / sizeof(kTraits[0]);

constexpr size_t kChecksumOffset = 4;

// The first four bytes are the seed and the checksum's own field lies behind them: nothing has to be copied or blanked.
uint32_t HeaderChecksum(const std::byte* header, size_t header_bytes) {
  constexpr size_t kBehind = kChecksumOffset + 4;
  return static_cast<uint32_t>(
      SeededChecksum(header + kBehind, header_bytes - kBehind, LoadLittleEndian<uint32_t>(header)));
}

}  // namespace

size_t FrameWords(FrameType type) { return kTraits[static_cast<size_t>(type)].words; }

absl::string_view FrameTypeName(FrameType type) { return kTraits[static_cast<size_t>(type)].name; }

size_t EncodeFrame(const Frame& frame, std::byte* to) {
  const size_t words = FrameWords(frame.type);
  const size_t header_bytes = kFrameCommonBytes + 8 * words;
  StoreLittleEndian<uint8_t>(to, static_cast<uint8_t>(frame.type));
  StoreLittleEndian<uint8_t>(to + 1, frame.flags);
  StoreLittleEndian<uint16_t>(to + 2, static_cast<uint16_t>(header_bytes));
  StoreLittleEndian<uint32_t>(to + 8, frame.sequence);
  StoreLittleEndian<uint32_t>(to + 12, frame.acknowledged);
  StoreLittleEndian<uint64_t>(to + 16, frame.payload_checksum);
  StoreLittleEndian<uint64_t>(to + 24, frame.payload_bytes);
  for (size_t i = 0; i < words; ++i) StoreLittleEndian<uint64_t>(to + kFrameCommonBytes + 8 * i, frame.words[i]);
  StoreLittleEndian<uint32_t>(to + kChecksumOffset, HeaderChecksum(to, header_bytes));
  return header_bytes;
}

FrameFault DecodeFrame(absl::Span<const std::byte> bytes, Frame* frame, size_t* header_bytes) {
  if (bytes.size() < kFrameCommonBytes) return FrameFault::kDamaged;
  const std::byte* from = bytes.data();
  const size_t claimed_bytes = LoadLittleEndian<uint16_t>(from + 2);
  if (claimed_bytes < kFrameCommonBytes || claimed_bytes > kFrameHeaderBytesMax || claimed_bytes > bytes.size()) {
    return FrameFault::kDamaged;
  }
  if (LoadLittleEndian<uint32_t>(from + kChecksumOffset) != HeaderChecksum(from, claimed_bytes)) {
    return FrameFault::kDamaged;
  }
  const auto type = LoadLittleEndian<uint8_t>(from);
  if (type == 0 || type >= kTypeCount) return FrameFault::kViolation;
  const TypeTraits& traits = kTraits[type];
  if (claimed_bytes != kFrameCommonBytes + 8 * size_t{traits.words}) return FrameFault::kViolation;
  frame->type = static_cast<FrameType>(type);
  frame->flags = LoadLittleEndian<uint8_t>(from + 1);
  if ((frame->flags & ~traits.flags_allowed) != 0) return FrameFault::kViolation;
  if ((frame->flags & traits.flags_required) != traits.flags_required) return FrameFault::kViolation;
  frame->sequence = LoadLittleEndian<uint32_t>(from + 8);
  frame->acknowledged = LoadLittleEndian<uint32_t>(from + 12);
  frame->payload_checksum = LoadLittleEndian<uint64_t>(from + 16);
  frame->payload_bytes = LoadLittleEndian<uint64_t>(from + 24);
  for (size_t i = 0; i < traits.words; ++i) {
    frame->words[i] = LoadLittleEndian<uint64_t>(from + kFrameCommonBytes + 8 * i);
  }
  *header_bytes = claimed_bytes;
  return FrameFault::kNone;
}

absl::Status DescribeViolation(absl::Span<const std::byte> bytes) {
  const unsigned type = LoadLittleEndian<uint8_t>(bytes.data());
  const unsigned flags = LoadLittleEndian<uint8_t>(bytes.data() + 1);
  const unsigned header_bytes = LoadLittleEndian<uint16_t>(bytes.data() + 2);
  if (type == 0 || type >= kTypeCount) return absl::InternalError(absl::StrCat("frame type ", type, " is unknown"));
  const TypeTraits& traits = kTraits[type];
  if (header_bytes != kFrameCommonBytes + 8 * size_t{traits.words}) {
    return absl::InternalError(absl::StrCat(traits.name, " frame: header_bytes ", header_bytes, " should be ",
                                            kFrameCommonBytes + 8 * size_t{traits.words}));
  }
  if ((flags & ~traits.flags_allowed) == 0) {
    return absl::InternalError(absl::StrCat(traits.name, " frame: flags ", flags, " lacks bits of ",
                                            static_cast<unsigned>(traits.flags_required)));
  }
  return absl::InternalError(absl::StrCat(traits.name, " frame: flags ", flags, " has bits outside ",
                                          static_cast<unsigned>(traits.flags_allowed)));
}

}  // namespace mcp::internal
