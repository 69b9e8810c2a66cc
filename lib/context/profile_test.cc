#include "lib/context/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "lib/context/policies.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

const std::vector<Alternative> kTwo = {{.protocol = Protocol::kBulk}, {.protocol = Protocol::kStream}};

Profile Example() {
  Profile profile;
  profile.origin = "a test";
  profile.points.push_back({{25, 5'000, 0}, {{kTwo[0], 20'000, 0.05, 200}, {kTwo[1], 25'000, 0.07, 200}}});
  profile.points.push_back({{25, 5'000, 0.05}, {{kTwo[0], 30'000, 0.25, 200}, {kTwo[1], 35'000, 0.15, 200}}});
  return profile;
}

TEST(Profile, ComesBackAsItWasWritten) {
  const Profile written = Example();
  const Profile read = ParseProfile(FormatProfile(written)).value();
  EXPECT_EQ(read.origin, written.origin);
  ASSERT_EQ(read.points.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read.points[i].path.loss, written.points[i].path.loss);
    ASSERT_EQ(read.points[i].alternatives.size(), 2u);
    for (size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(read.points[i].alternatives[k].alternative, written.points[i].alternatives[k].alternative);
      EXPECT_EQ(read.points[i].alternatives[k].base_ns, written.points[i].alternatives[k].base_ns);
      EXPECT_EQ(read.points[i].alternatives[k].ns_per_byte, written.points[i].alternatives[k].ns_per_byte);
    }
  }
}

// Without a completion of its own it decides as one that has measured.
TEST(Profile, AColdAdvisorDecidesAsAWarmOne) {
  for (const auto& [loss, expected] : {std::pair{0.0, 0}, std::pair{0.04, 1}}) {
    const ModelPolicy policy;
    Advisor advisor(AdvisorOptions(), &policy, nullptr);
    const uint32_t peer = advisor.AddPeer(kTwo).value();
    const Profile profile = Example();
    const ProfilePoint& point = NearestPoint(profile, {20, 6'000, loss});
    EXPECT_EQ(SeedFromPoint(point, kTwo, &advisor, peer), 2u);
    EXPECT_EQ(advisor.Advise(peer, 1 << 20, 0).alternative, expected) << loss;
  }
}

TEST(Profile, ItsSeedsGiveWayToWhatIsMeasured) {
  const ModelPolicy policy;
  Advisor advisor(AdvisorOptions(), &policy, nullptr);
  const uint32_t peer = advisor.AddPeer(kTwo).value();
  SeedFromPoint(Example().points[1], kTwo, &advisor, peer);  // stream, it says
  int64_t now_ns = 0;
  for (int i = 0; i < 300; ++i) {
    const Advice advice = advisor.Advise(peer, 1 << 20, now_ns);
    const int64_t latency = advice.alternative == 0 ? 80'000 : 200'000;
    advisor.Observe({peer, advice.alternative, advice.probe, 1 << 20, latency, 0}, now_ns += latency);
  }
  EXPECT_EQ(advisor.Advise(peer, 1 << 20, now_ns).alternative, 0);
}

TEST(Profile, AnotherVersionAndNonsenseAreErrorsThatSayWhat) {
  const std::string good = FormatProfile(Example());
  const auto error = [&](absl::string_view from, absl::string_view to) {
    const std::string text = absl::StrReplaceAll(good, {{from, to}});
    EXPECT_NE(text, good) << from;
    const auto profile = ParseProfile(text);
    EXPECT_EQ(profile.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(profile.status().message());
  };
  EXPECT_THAT(error("mcp-profile/1", "mcp-profile/2"), HasSubstr("\"mcp-profile/2\", expected \"mcp-profile/1\""));
  EXPECT_THAT(error("\"loss\": 0.05", "\"loss\": 1.5"), HasSubstr("points[1]: \"loss\" is 1.5, expected 0 to 1"));
  EXPECT_THAT(error("\"ns_per_byte\": 0.07", "\"ns_per_byte\": -1"),
              HasSubstr("points[0].alternatives[1]: \"ns_per_byte\" is -1"));
  EXPECT_THAT(error("\"base_ns\": 30000.0", "\"base_ns\": \"much\""), HasSubstr("\"base_ns\" is not a number"));
  EXPECT_THAT(error("\"stream\"", "\"steam\""), HasSubstr("protocol \"steam\" is unknown"));
  EXPECT_THAT(error("\"points\"", "\"dots\""), HasSubstr("no array \"points\""));
  EXPECT_THAT(ParseProfile("{").status().message(), HasSubstr("not a JSON object"));
  EXPECT_THAT(ParseProfile("[]").status().message(), HasSubstr("not a JSON object"));
  EXPECT_THAT(ParseProfile("{}").status().message(), HasSubstr("no \"schema\""));
  EXPECT_THAT(ParseProfile(std::string(Profile::kBytesMax + 1, ' ')).status().message(), HasSubstr("at most"));
}

// Every prefix, and every byte turned into another: an error or a profile, never a crash.
TEST(Profile, DamagedTextIsSurvived) {
  const std::string good = FormatProfile(Example());
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(ParseProfile(good.substr(0, i)).ok() && i + 2 < good.size());
    for (char c : {'"', '9', '-', '{', '\xff', 'e'}) {
      std::string damaged = good;
      damaged[i] = c;
      const auto profile = ParseProfile(damaged);
      if (profile.ok()) {
        EXPECT_FALSE(profile->points.empty());
      }
    }
  }
}

}  // namespace
}  // namespace mcp::internal
