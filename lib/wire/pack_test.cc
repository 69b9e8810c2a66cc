#include "lib/wire/pack.h"

#include <array>
#include <vector>

#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

constexpr FrameType kPacks[] = {FrameType::kPuts, FrameType::kMessages};

std::vector<std::byte> Payload(uint64_t bytes) { return std::vector<std::byte>(bytes, std::byte(bytes)); }

// Entries of 0 to `count` - 1 bytes.
std::vector<std::byte> MakePack(FrameType type, uint64_t count) {
  std::vector<std::byte> pack(count * (PackEntryBytes(type) + count));
  std::byte* end = pack.data();
  for (uint64_t i = 0; i < count; ++i) {
    const std::vector<std::byte> payload = Payload(i);
    end = EncodePackEntry(type, {{100 + i, 200 + i}, payload.data(), i}, end);
  }
  pack.resize(static_cast<size_t>(end - pack.data()));
  return pack;
}

TEST(Pack, EntriesComeBackAsTheyWere) {
  for (const FrameType type : kPacks) {
    const std::vector<std::byte> pack = MakePack(type, 5);
    PackReader reader(type, pack);
    for (uint64_t i = 0; i < 5; ++i) {
      PackEntry entry;
      ASSERT_TRUE(reader.Next(&entry));
      EXPECT_EQ(entry.words[0], 100 + i);
      EXPECT_EQ(entry.words[1], type == FrameType::kPuts ? 200 + i : 0);
      EXPECT_EQ(std::vector<std::byte>(entry.payload, entry.payload + entry.payload_bytes), Payload(i));
    }
    EXPECT_EQ(reader.left(), 0u);
  }
}

TEST(Pack, EveryTruncationIsNoticed) {
  for (const FrameType type : kPacks) {
    const std::vector<std::byte> pack = MakePack(type, 4);
    for (size_t size = 0; size < pack.size(); ++size) {
      const std::vector<std::byte> cut(pack.begin(), pack.begin() + static_cast<ptrdiff_t>(size));
      PackReader reader(type, cut);
      PackEntry entry;
      int entries = 0;
      while (reader.Next(&entry)) ++entries;
      EXPECT_LT(entries, 4) << size;
    }
  }
}

TEST(Pack, LengthsAreHeldAgainstWhatIsThere) {
  for (const FrameType type : kPacks) {
    for (const uint64_t length : {uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
      std::vector<std::byte> pack(PackEntryBytes(type));
      StoreLittleEndian<uint64_t>(pack.data() + pack.size() - 8, length);
      PackReader reader(type, pack);
      PackEntry entry;
      EXPECT_FALSE(reader.Next(&entry)) << length;
    }
  }
}

}  // namespace
}  // namespace mcp::internal
