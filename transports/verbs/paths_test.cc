#include "transports/verbs/paths.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

std::vector<VerbsAddress> Addresses(const std::vector<std::string>& hosts) {
  std::vector<VerbsAddress> addresses;
  for (const std::string& host : hosts) addresses.push_back(*ParseVerbsAddress(absl::StrCat(host, ":7")));
  return addresses;
}

std::vector<std::string> Text(const VerbsPaths& paths) {
  std::vector<std::string> lines;
  for (const VerbsPath& path : paths.pairs) {
    lines.push_back(absl::StrCat(FormatVerbsAddress(path.source->raw()), " ", FormatVerbsAddress(path.target.raw())));
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(VerbsPaths, SpreadOverBothEndsBeforeTheyRepeat) {
  const VerbsPaths paths = PairUp(Addresses({"10.0.0.1", "10.0.1.1"}), Addresses({"10.0.0.2", "10.0.1.2"}));
  EXPECT_EQ(paths.spread, 2u);
  EXPECT_EQ(Text(paths), Lines({"10.0.0.1:7 10.0.0.2:7", "10.0.1.1:7 10.0.1.2:7",  // each end once
                                "10.0.0.1:7 10.0.1.2:7", "10.0.1.1:7 10.0.0.2:7"}));
}

TEST(VerbsPaths, KeepToOneNetworkWhateverTheOrder) {
  const VerbsPaths paths =
      PairUp(Addresses({"10.0.0.1", "10.0.1.1", "10.0.2.1"}), Addresses({"10.0.0.2", "10.0.2.2", "10.0.1.2"}));
  EXPECT_EQ(paths.spread, 3u);
  const Lines lines = Text(paths);
  EXPECT_EQ(Lines(lines.begin(), lines.begin() + 3),
            Lines({"10.0.0.1:7 10.0.0.2:7", "10.0.1.1:7 10.0.1.2:7", "10.0.2.1:7 10.0.2.2:7"}));
  EXPECT_EQ(lines.size(), 9u);
}

// What has worked comes first, even where another pair looks better.
TEST(VerbsPaths, BeginWithTheFirstOfEach) {
  const VerbsPaths paths = PairUp(Addresses({"10.0.1.1", "10.0.0.1"}), Addresses({"10.0.0.2", "10.0.1.2"}));
  EXPECT_EQ(Text(paths), Lines({"10.0.1.1:7 10.0.0.2:7", "10.0.0.1:7 10.0.1.2:7",  //
                                "10.0.1.1:7 10.0.1.2:7", "10.0.0.1:7 10.0.0.2:7"}));
}

TEST(VerbsPaths, UseTheSmallerSideAgain) {
  const VerbsPaths one = PairUp(Addresses({"10.0.0.1"}), Addresses({"10.0.0.2", "10.0.1.2", "10.0.2.2"}));
  EXPECT_EQ(one.spread, 3u);
  EXPECT_EQ(one.pairs.size(), 3u);
  const VerbsPaths other = PairUp(Addresses({"[fd00::1]", "[fd01::1]"}), Addresses({"[fd00::2]"}));
  EXPECT_EQ(other.spread, 2u);
  EXPECT_EQ(Text(other), Lines({"[fd00::1]:7 [fd00::2]:7", "[fd01::1]:7 [fd00::2]:7"}));
}

TEST(VerbsPeers, TellWhatWasLearnedLast) {
  VerbsPeers peers;
  EXPECT_FALSE(peers.Find("10.0.0.2:7").has_value());
  peers.Learn("10.0.0.2:7", {Addresses({"10.0.0.1"})[0], Addresses({"10.0.1.2"})});
  peers.Learn("10.0.0.2:7", {Addresses({"10.0.0.1"})[0], {}});
  ASSERT_TRUE(peers.Find("10.0.0.2:7").has_value());
  EXPECT_TRUE(peers.Find("10.0.0.2:7")->others.empty());
}

}  // namespace
}  // namespace mcp::internal
