#include "tools/mcp_perf/sizes.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace mcp::perf {
namespace {

TEST(Sizes, ReadsSuffixesAsPowersOf1024) {
  EXPECT_EQ(*ParseSize("64"), 64u);
  EXPECT_EQ(*ParseSize("4K"), 4096u);
  EXPECT_EQ(*ParseSize("1m"), 1u << 20);
  EXPECT_EQ(*ParseSize("16G"), kSizeMax);
}

TEST(Sizes, RefusesWhatIsNotASize) {
  for (const char* text :
       {"", "K", "12Q", "-1", "+1", " 1", "1 ", "1.5K", "0", "17G", "99999999999999999999", "0x10"}) {
    const auto size = ParseSize(text);
    ASSERT_FALSE(size.ok()) << text;
    EXPECT_TRUE(absl::StrContains(size.status().message(), text)) << size.status();
  }
}

TEST(Sizes, ListsAndRangesMix) {
  EXPECT_EQ(*ParseSizes("64,1K:4K,1M"), (std::vector<uint64_t>{64, 1024, 2048, 4096, 1 << 20}));
  EXPECT_EQ(*ParseSizes("3:10"), (std::vector<uint64_t>{3, 6}));
  EXPECT_EQ(*ParseSizes("7:7"), (std::vector<uint64_t>{7}));
}

TEST(Sizes, RefusesBrokenLists) {
  for (const char* text : {"", "64,", ",64", "64,,64", "2:1", ":", "1:", ":1", "1:2:4"}) {
    EXPECT_FALSE(ParseSizes(text).ok()) << text;
  }
}

TEST(Sizes, FormatsForPeople) {
  EXPECT_EQ(FormatSize(64), "64 B");
  EXPECT_EQ(FormatSize(4096), "4 KiB");
  EXPECT_EQ(FormatSize(uint64_t{3} << 19), "1.5 MiB");
  EXPECT_EQ(FormatSize(uint64_t{1} << 30), "1 GiB");
}

}  // namespace
}  // namespace mcp::perf
