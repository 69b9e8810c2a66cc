#include "lib/base/units.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(Units, ParsesBytes) {
  const std::pair<const char*, uint64_t> cases[] = {
      {"0", 0},           {"512", 512},   {"512B", 512},
      {"64K", 64 * kKiB}, {"1m", kMiB},   {"3GiB", 3 * kGiB},
      {"2T", 2 * kTiB},   {"1kib", kKiB}, {"18446744073709551615", ~uint64_t{0}},
  };
  for (const auto& [text, bytes] : cases) {
    const auto parsed = ParseBytes(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(Units, RefusesWhatIsNoSize) {
  for (const char* text : {"", "K", "-1", "1.5M", "64KB", "64 K", "1KK", "1X", "0x10", "1iB"}) {
    EXPECT_EQ(ParseBytes(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  for (const char* text : {"18446744073709551616", "16777216T", "99999999999999999999999"}) {
    EXPECT_EQ(ParseBytes(text).status().code(), absl::StatusCode::kOutOfRange) << text;
  }
}

TEST(Units, FormatsBytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(64 * kKiB), "64 KiB");
  EXPECT_EQ(FormatBytes(kMiB + kMiB / 2), "1.5 MiB");
  EXPECT_EQ(FormatBytes(4 * kGiB), "4 GiB");
  EXPECT_EQ(FormatBytes(5000 * kTiB), "5000 TiB");
}

}  // namespace
}  // namespace mcp::internal
