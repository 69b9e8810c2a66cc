#include "lib/wire/hello.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

Hello Example() {
  Hello hello;
  hello.features = kFeatureChecksum;
  hello.engine_id = 1;
  hello.session_token = 2;
  hello.rail = 1;
  hello.rails = 2;
  hello.generation = 3;
  hello.peer_timeout_ms = 5000;
  hello.outstanding_max = 16384;
  hello.eager_credit_bytes = 4 << 20;
  hello.abilities = kAbilityPacks;
  hello.acknowledged = 0xfffffff0;
  hello.taken = 0x10;
  return hello;
}

using Bytes = std::array<std::byte, kHelloBytes>;

Bytes Changed(size_t offset, uint8_t value) {
  Bytes bytes = EncodeHello(Example());
  bytes[offset] = std::byte{value};
  StoreLittleEndian<uint64_t>(bytes.data() + kHelloBytes - 8, Checksum(bytes.data(), kHelloBytes - 8));
  return bytes;
}

std::string Refusal(absl::Span<const std::byte> bytes) { return std::string(DecodeHello(bytes).status().message()); }

TEST(Hello, ComesBackAsItWas) {
  const absl::StatusOr<Hello> hello = DecodeHello(EncodeHello(Example()));
  ASSERT_TRUE(hello.ok()) << hello.status();
  EXPECT_EQ(hello->features, Example().features);
  EXPECT_EQ(hello->engine_id, Example().engine_id);
  EXPECT_EQ(hello->session_token, Example().session_token);
  EXPECT_EQ(hello->rail, Example().rail);
  EXPECT_EQ(hello->rails, Example().rails);
  EXPECT_EQ(hello->generation, Example().generation);
  EXPECT_EQ(hello->peer_timeout_ms, Example().peer_timeout_ms);
  EXPECT_EQ(hello->outstanding_max, Example().outstanding_max);
  EXPECT_EQ(hello->eager_credit_bytes, Example().eager_credit_bytes);
  EXPECT_EQ(hello->abilities, Example().abilities);
  EXPECT_EQ(hello->acknowledged, Example().acknowledged);
  EXPECT_EQ(hello->taken, Example().taken);
}

TEST(Hello, RefusalsNameFieldAndValue) {
  EXPECT_THAT(Refusal(Changed(0, 'X')), HasSubstr("magic 0x53504358 should be 0x5350434d"));
  EXPECT_THAT(Refusal(Changed(4, 9)), HasSubstr("version 9 is not spoken here, only 3"));
  EXPECT_THAT(Refusal(Changed(6, 95)), HasSubstr("length 95"));
  EXPECT_THAT(Refusal(Changed(8, 0x81)), HasSubstr("features 0x81"));
  EXPECT_THAT(Refusal(Changed(32, 2)), HasSubstr("rail 2 of 2"));
  EXPECT_THAT(Refusal(Changed(34, 0)), HasSubstr("rails 0"));
  EXPECT_THAT(Refusal(Changed(34, 9)), HasSubstr("rails 9"));
}

TEST(Hello, UnknownAbilitiesAreNoReasonNotToTalk) {
  const absl::StatusOr<Hello> hello = DecodeHello(Changed(63, 0x80));
  ASSERT_TRUE(hello.ok()) << hello.status();
  EXPECT_NE(hello->abilities & kAbilityPacks, 0u);
}

TEST(Hello, DamageAndEveryTruncationAreRefused) {
  Bytes bytes = EncodeHello(Example());
  bytes[20] ^= std::byte{1};
  EXPECT_THAT(Refusal(bytes), HasSubstr("checksum"));
  const Bytes whole = EncodeHello(Example());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(DecodeHello(absl::MakeConstSpan(whole.data(), size)).ok()) << size;
  }
}

}  // namespace
}  // namespace mcp::internal
