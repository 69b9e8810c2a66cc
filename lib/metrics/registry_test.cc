#include "lib/metrics/registry.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace mcp::internal {
namespace {

TEST(Registry, RendersCountersAndGauges) {
  Registry registry(2);
  registry.AddCounter("mcp_tiles_total", "Tiles sent.", {{"lane", "1"}}).Add(1, 7);
  registry.AddCounter("mcp_tiles_total", "ignored: the first help stands", {{"lane", "0"}}).Add(0);
  registry.AddGauge("mcp_sessions", "Sessions open now.").Set(-3);
  int64_t keys = 12;
  registry.AddGaugeReader("mcp_keys", "Keys in use.", [&keys] { return keys; });
  keys = 13;
  EXPECT_EQ(registry.RenderPrometheus(),
            "# HELP mcp_keys Keys in use.\n"
            "# TYPE mcp_keys gauge\n"
            "mcp_keys 13\n"
            "# HELP mcp_sessions Sessions open now.\n"
            "# TYPE mcp_sessions gauge\n"
            "mcp_sessions -3\n"
            "# HELP mcp_tiles_total Tiles sent.\n"
            "# TYPE mcp_tiles_total counter\n"
            "mcp_tiles_total{lane=\"0\"} 1\n"
            "mcp_tiles_total{lane=\"1\"} 7\n");
}

TEST(Registry, EscapesLabelsAndHelp) {
  Registry registry(1);
  registry.AddGauge("g", "back\\slash\nand \"quotes\"", {{"peer", "a\"b\\c\nd"}, {"kind", ""}});
  EXPECT_EQ(registry.RenderPrometheus(),
            "# HELP g back\\\\slash\\nand \"quotes\"\n"
            "# TYPE g gauge\n"
            "g{peer=\"a\\\"b\\\\c\\nd\",kind=\"\"} 0\n");
}

TEST(Registry, RendersHistograms) {
  Registry registry(2);
  HistogramFormat format;
  format.unit = 0.5;
  format.first_exponent = 1;
  format.last_exponent = 3;
  ShardedHistogram& histogram = registry.AddHistogram("h_seconds", "Halves.", format, {{"op", "put"}});
  for (uint64_t value : {0, 1, 2, 7, 8, 100}) histogram.Record(value % 2, value);
  EXPECT_EQ(registry.RenderPrometheus(),
            "# HELP h_seconds Halves.\n"
            "# TYPE h_seconds histogram\n"
            "h_seconds_bucket{op=\"put\",le=\"0.5\"} 2\n"
            "h_seconds_bucket{op=\"put\",le=\"1.5\"} 3\n"
            "h_seconds_bucket{op=\"put\",le=\"3.5\"} 4\n"
            "h_seconds_bucket{op=\"put\",le=\"+Inf\"} 6\n"
            "h_seconds_sum{op=\"put\"} 59\n"
            "h_seconds_count{op=\"put\"} 6\n");
}

TEST(Registry, SameNameAndLabelsIsTheSameMetric) {
  Registry registry(1);
  EXPECT_EQ(&registry.AddCounter("a_total", ""), &registry.AddCounter("a_total", ""));
  EXPECT_NE(&registry.AddCounter("a_total", ""), &registry.AddCounter("a_total", "", {{"x", "1"}}));
}

TEST(Registry, CountsAndRendersAtOnce) {
  constexpr uint32_t kLanes = 3;
  Registry registry(kLanes + 1);
  Counter& counter = registry.AddCounter("c_total", "");
  std::vector<std::thread> threads;
  for (uint32_t shard : {0u, 0u, 1u, 2u, 3u}) {
    threads.emplace_back([&counter, shard] {
      for (int i = 0; i < 10000; ++i) counter.Add(shard);
    });
  }
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(registry.RenderPrometheus().empty());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.Value(), 50000u);
}

}  // namespace
}  // namespace mcp::internal
