#include "lib/wire/frame.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "lib/wire/pack.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

constexpr FrameType kAllTypes[] = {FrameType::kPut,     FrameType::kTile,     FrameType::kEager,  FrameType::kRequest,
                                   FrameType::kGrant,   FrameType::kGet,      FrameType::kRevoke, FrameType::kWithdraw,
                                   FrameType::kAbandon, FrameType::kClose,    FrameType::kAck,    FrameType::kHedged,
                                   FrameType::kPuts,    FrameType::kMessages, FrameType::kConnect};

Frame Example(FrameType type) {
  Frame frame;
  frame.type = type;
  if (IsPack(type)) frame.flags = kFlagPayloadChecked;
  frame.sequence = 0xfffffffe;
  frame.acknowledged = 17;
  frame.payload_checksum = 0x0123456789abcdef;
  frame.payload_bytes = uint64_t{1} << 40;
  for (size_t i = 0; i < FrameWords(type); ++i) frame.words[i] = 0x1111111111111111u * (i + 1);
  return frame;
}

std::vector<std::byte> Encoded(const Frame& frame) {
  std::vector<std::byte> bytes(kFrameHeaderBytesMax);
  bytes.resize(EncodeFrame(frame, bytes.data()));
  return bytes;
}

// The header checksum made right again after a field was changed.
void Reseal(std::vector<std::byte>* bytes) {
  const uint32_t seed = LoadLittleEndian<uint32_t>(bytes->data());
  StoreLittleEndian<uint32_t>(bytes->data() + 4,
                              static_cast<uint32_t>(SeededChecksum(bytes->data() + 8, bytes->size() - 8, seed)));
}

TEST(Frame, EveryTypeComesBackAsItWas) {
  for (const FrameType type : kAllTypes) {
    SCOPED_TRACE(std::string(FrameTypeName(type)));
    const Frame frame = Example(type);
    const std::vector<std::byte> bytes = Encoded(frame);
    EXPECT_EQ(bytes.size(), FrameHeaderBytes(type));
    Frame decoded;
    size_t header_bytes = 0;
    ASSERT_EQ(DecodeFrame(bytes, &decoded, &header_bytes), FrameFault::kNone);
    EXPECT_EQ(header_bytes, bytes.size());
    EXPECT_EQ(decoded.type, type);
    EXPECT_EQ(decoded.sequence, frame.sequence);
    EXPECT_EQ(decoded.acknowledged, frame.acknowledged);
    EXPECT_EQ(decoded.payload_checksum, frame.payload_checksum);
    EXPECT_EQ(decoded.payload_bytes, frame.payload_bytes);
    for (size_t i = 0; i < kFrameWordsMax; ++i) EXPECT_EQ(decoded.words[i], frame.words[i]) << i;
  }
}

TEST(Frame, FieldsAreLittleEndianAtTheirPlaces) {
  const std::vector<std::byte> bytes = Encoded(Example(FrameType::kPut));
  EXPECT_EQ(bytes[0], std::byte{1});
  EXPECT_EQ(bytes[2], std::byte{48});
  EXPECT_EQ(bytes[8], std::byte{0xfe});
  EXPECT_EQ(bytes[12], std::byte{17});
  EXPECT_EQ(bytes[16], std::byte{0xef});
}

TEST(Frame, AnyFlippedBitIsDamage) {
  for (const FrameType type : kAllTypes) {
    const std::vector<std::byte> whole = Encoded(Example(type));
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      std::vector<std::byte> bytes = whole;
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      Frame frame;
      size_t header_bytes = 0;
      EXPECT_EQ(DecodeFrame(bytes, &frame, &header_bytes), FrameFault::kDamaged)
          << FrameTypeName(type) << " bit " << bit;
    }
  }
}

TEST(Frame, AnyTruncationIsDamage) {
  const std::vector<std::byte> whole = Encoded(Example(FrameType::kGrant));
  Frame frame;
  size_t header_bytes = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(DecodeFrame(absl::MakeConstSpan(whole.data(), size), &frame, &header_bytes), FrameFault::kDamaged)
        << size;
  }
}

struct Violation {
  size_t offset;
  uint8_t value;
  const char* message;
};

TEST(Frame, IntactNonsenseIsAViolationThatNamesFieldAndValue) {
  const Violation violations[] = {{0, 0, "frame type 0 is unknown"},
                                  {0, 100, "frame type 100 is unknown"},
                                  {0, 255, "frame type 255 is unknown"},
                                  {0, 5, "grant frame: header_bytes 48 should be 80"},
                                  {1, 2, "put frame: flags 2 has bits outside 1"}};
  for (const Violation& violation : violations) {
    std::vector<std::byte> bytes = Encoded(Example(FrameType::kPut));
    bytes[violation.offset] = std::byte{violation.value};
    Reseal(&bytes);
    Frame frame;
    size_t header_bytes = 0;
    EXPECT_EQ(DecodeFrame(bytes, &frame, &header_bytes), FrameFault::kViolation) << violation.message;
    EXPECT_THAT(std::string(DescribeViolation(bytes).message()), HasSubstr(violation.message));
  }
}

TEST(Frame, PacksAreAlwaysChecked) {
  for (const FrameType type : {FrameType::kPuts, FrameType::kMessages}) {
    Frame frame = Example(type);
    frame.flags = 0;
    const std::vector<std::byte> bytes = Encoded(frame);
    size_t header_bytes = 0;
    EXPECT_EQ(DecodeFrame(bytes, &frame, &header_bytes), FrameFault::kViolation);
    EXPECT_THAT(std::string(DescribeViolation(bytes).message()), HasSubstr("frame: flags 0 lacks bits of 1"));
  }
}

}  // namespace
}  // namespace mcp::internal
