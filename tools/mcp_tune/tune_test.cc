#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/context/policies.h"
#include "lib/context/profile.h"
#include "tools/mcp_tune/live.h"
#include "tools/mcp_tune/show.h"
#include "tools/mcp_tune/sweep.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

SweepOptions Small() {
  SweepOptions options;
  options.gigabits_per_s = {200};
  options.latencies_us = {5};
  options.losses = {0, 0.1};
  return options;
}

TEST(Sweep, MeasuresWhatTheSimulatorWasToldAndRepeatsItself) {
  const Profile profile = Sweep(Small());
  ASSERT_EQ(profile.points.size(), 2u);
  const ProfileAlternative& bulk = profile.points[0].alternatives[0];
  // 25 bytes/ns on the link, and all lanes verify at 64: 0.056 ns a byte; a base of three round trips' halves and more.
  EXPECT_NEAR(bulk.ns_per_byte, 0.056, 0.004);
  EXPECT_GT(bulk.base_ns, 20'000);
  EXPECT_LT(bulk.base_ns, 30'000);
  EXPECT_EQ(FormatProfile(Sweep(Small())), FormatProfile(profile));
}

TEST(Sweep, ItsProfilesCanBeRead) { EXPECT_TRUE(ParseProfile(FormatProfile(Sweep(Small()))).ok()); }

TEST(Live, MeasuresBothProtocolsToAPeerThatServes) {
  LiveOptions options;
  options.address = "127.0.0.1:0";
  options.messages = 4;
  options.octaves = 2;
  const auto server = LiveServer::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  options.address = (*server)->address();
  const auto measured = MeasureLive(options);
  ASSERT_TRUE(measured.ok()) << measured.status();
  const auto profile = ParseProfile(FormatProfile(*measured));
  ASSERT_TRUE(profile.ok()) << profile.status();
  ASSERT_EQ(profile->points.size(), 1u);
  const std::vector<ProfileAlternative>& known = profile->points[0].alternatives;
  ASSERT_EQ(known.size(), 2u);
  EXPECT_EQ(known[0].alternative.protocol, Protocol::kBulk);
  EXPECT_EQ(known[1].alternative.protocol, Protocol::kStream);
  for (const ProfileAlternative& alternative : known) {
    const double megabyte_ns = alternative.base_ns + alternative.ns_per_byte * 1e6;
    EXPECT_GT(megabyte_ns, 1e6 / 1000) << "1 TB/s and more";
    EXPECT_LT(megabyte_ns, 1e9) << "a second";
  }
}

TEST(Live, WithItsProfileAColdAdvisorDecidesAsOneThatHasMeasured) {
  LiveOptions options;
  options.address = "127.0.0.1:0";
  options.messages = 8;
  options.octaves = 4;
  const auto server = LiveServer::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  options.address = (*server)->address();
  const auto measured = MeasureLive(options);
  ASSERT_TRUE(measured.ok()) << measured.status();
  const auto profile = ParseProfile(FormatProfile(*measured));
  ASSERT_TRUE(profile.ok()) << profile.status();
  const ProfilePoint& point = NearestPoint(*profile, {.bytes_per_ns = 1, .latency_ns = 20'000});

  const std::vector<Alternative> alternatives = {point.alternatives[0].alternative, point.alternatives[1].alternative};
  const ModelPolicy policy;
  Advisor cold(AdvisorOptions(), &policy, nullptr);
  Advisor warm(AdvisorOptions(), &policy, nullptr);
  const uint32_t cold_peer = cold.AddPeer(alternatives).value();
  const uint32_t warm_peer = warm.AddPeer(alternatives).value();
  ASSERT_EQ(SeedFromPoint(point, alternatives, &cold, cold_peer), 2u);
  int64_t now_ns = 0;
  const auto took = [&](uint32_t alternative, uint64_t bytes) {
    const ProfileAlternative& known = point.alternatives[alternative];
    return static_cast<int64_t>(known.base_ns + known.ns_per_byte * static_cast<double>(bytes));
  };
  for (uint32_t i = 0; i < 400; ++i) {
    const uint64_t bytes = uint64_t{512 << 10} << (i % options.octaves);
    const Advice advice = warm.Advise(warm_peer, bytes, now_ns);
    const int64_t latency_ns = took(advice.alternative, bytes);
    warm.Observe({warm_peer, advice.alternative, advice.probe, bytes, latency_ns, 0}, now_ns += latency_ns);
  }
  for (uint32_t octave = 0; octave < options.octaves; ++octave) {
    const uint64_t bytes = uint64_t{512 << 10} << octave;
    const double ratio = static_cast<double>(took(0, bytes)) / static_cast<double>(took(1, bytes));
    if (ratio > 0.9 && ratio < 1.1) continue;  // either will do
    EXPECT_EQ(cold.Advise(cold_peer, bytes, now_ns).alternative, ratio < 1 ? 0 : 1) << bytes;
    EXPECT_EQ(warm.Advise(warm_peer, bytes, now_ns).alternative, ratio < 1 ? 0 : 1) << bytes;
  }
}

TEST(Live, SaysWhereNobodyServes) {
  LiveOptions options;
  options.address = "127.0.0.1:1";
  const auto measured = MeasureLive(options);
  ASSERT_FALSE(measured.ok());
  EXPECT_THAT(std::string(measured.status().message()), HasSubstr("127.0.0.1:1"));
}

TEST(Show, MapsTheWinnerOverSizeAndLoss) {
  const std::string maps = ShowMaps(Sweep(Small()));
  EXPECT_THAT(maps, HasSubstr("200 Gb/s, 5 us"));
  const size_t clean = maps.find("\n       0  ");
  const size_t lossy = maps.find("\n     0.1  ");
  ASSERT_NE(clean, std::string::npos);
  ASSERT_NE(lossy, std::string::npos);
  EXPECT_EQ(maps[clean + 11], 'E') << "1 KiB on a clean path";
  const std::string clean_row = maps.substr(clean + 1, maps.find('\n', clean + 1) - clean - 1);
  const std::string lossy_row = maps.substr(lossy + 1, maps.find('\n', lossy + 1) - lossy - 1);
  EXPECT_EQ(clean_row.substr(clean_row.find_last_not_of(' '), 1), "B") << "64 MiB";
  EXPECT_EQ(lossy_row.substr(lossy_row.find_last_not_of(' '), 1), "S");
}

TEST(Show, DrawsACellForEachSizeAndLossAndEscapesWhatItQuotes) {
  Profile profile = Sweep(Small());
  profile.origin = "a <b> & c";
  const std::string svg = ShowSvg(profile);
  EXPECT_THAT(svg, HasSubstr("a &lt;b&gt; &amp; c"));
  EXPECT_THAT(svg, HasSubstr("200 Gb/s, 5 us"));
  size_t cells = 0;
  for (size_t at = svg.find("fill-opacity"); at != std::string::npos; at = svg.find("fill-opacity", at + 1)) ++cells;
  EXPECT_EQ(cells, 4u + 2 * 17u) << "the legend, and two rows of sizes";
  EXPECT_THAT(svg, HasSubstr("</svg>"));
}

TEST(Show, TellsTheFigures) {
  EXPECT_THAT(ShowTable(Sweep(Small())), HasSubstr("origin: simulated, 300 transfers a protocol and point, seed 1"));
}

}  // namespace
}  // namespace mcp::internal
