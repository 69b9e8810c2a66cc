#include "tools/mcp_perf/report.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace mcp::perf {
namespace {

TestResult Result(const char* test, uint64_t size, double seconds) {
  TestResult result;
  result.test = *FindTestKind(test);
  result.size = size;
  result.operations = 1000;
  result.seconds = seconds;
  result.payload_bytes = result.verified_bytes = 1000 * size;
  for (int64_t ns = 1000; ns < 3000; ++ns) result.latency.Record(ns);
  result.local = {500'000'000, 1100 * size, 1, 0};
  result.remote = {250'000'000, 77, 2, 3};
  return result;
}

Report Example() {
  Report report;
  report.version = "1.2.3";
  report.command = {"mcp-perf", "--loopback", "a\"<&\xff"};
  report.local = {{"here", "cpu <x>", "linux", 2}, {"tcp", "io_uring", 2, {}}};
  report.remote = report.local;
  report.fallbacks = {{"verbs", "tcp", "this build has no verbs transport"}};
  for (const uint64_t size : {64, 4096, 1 << 20}) {
    report.results.push_back(Result("put_bw", size, 0.5));
    report.results.push_back(Result("put_lat", size, 0.01));
  }
  return report;
}

TEST(Report, JsonIsTheSchema) {
  const nlohmann::json document = nlohmann::json::parse(FormatJson(Example()));
  EXPECT_EQ(document["schema"], "mcp-perf/1");
  EXPECT_EQ(document["local"]["rails"], 2);
  EXPECT_EQ(document["fallbacks"][0]["wanted"], "verbs");
  const nlohmann::json& result = document["results"][0];
  EXPECT_EQ(result["test"], "put_bw");
  EXPECT_EQ(result["bandwidth_bytes_per_s"], 128000.0);
  EXPECT_EQ(result["operations_per_s"], 2000.0);
  EXPECT_NEAR(result["latency_us"]["p50"].get<double>(), 2.0, 0.01);
  EXPECT_EQ(result["wire_bytes"], 70400);
  EXPECT_EQ(result["retransmitted_tiles"], 3);
  EXPECT_EQ(result["checksum_failures"], 3);
  EXPECT_EQ(result["cpu_s"]["remote"], 0.25);
  EXPECT_TRUE(result["error"].is_null());
}

TEST(Report, AGetIsCountedWhereItsPayloadIsSent) {
  Report report = Example();
  report.results = {Result("get_bw", 64, 1)};
  EXPECT_EQ(nlohmann::json::parse(FormatJson(report))["results"][0]["wire_bytes"], 77);
}

// Together they are all operations, also where a counter tells one that was not timed.
TEST(Report, SaysWhichWayOperationsWent) {
  const auto protocols = [](const char* test, uint64_t announced, uint64_t streamed) {
    Report report = Example();
    report.results = {Result(test, 64, 1)};
    report.results[0].local.announced = announced;
    report.results[0].local.streamed = streamed;
    return nlohmann::json::parse(FormatJson(report))["results"][0]["protocols"].dump();
  };
  EXPECT_EQ(protocols("send_bw", 0, 0), R"({"bulk":0,"eager":1000,"stream":0})");
  EXPECT_EQ(protocols("send_lat", 1000, 300), R"({"bulk":700,"eager":0,"stream":300})");
  EXPECT_EQ(protocols("send_bw", 400, 0), R"({"bulk":400,"eager":600,"stream":0})");
  EXPECT_EQ(protocols("send_bw", 1001, 1001), R"({"bulk":0,"eager":0,"stream":1000})");
  EXPECT_EQ(protocols("put_bw", 0, 0), R"({"bulk":1000,"eager":0,"stream":0})");
  EXPECT_EQ(protocols("get_lat", 0, 0), R"({"bulk":1000,"eager":0,"stream":0})");
}

TEST(Report, AFailedTestIsInTheDocument) {
  Report report = Example();
  TestResult failed;
  failed.test = *FindTestKind("send_lat");
  failed.error = "the server left";
  report.results.push_back(failed);
  const nlohmann::json document = nlohmann::json::parse(FormatJson(report));
  EXPECT_EQ(document["results"].back()["error"], "the server left");
  EXPECT_EQ(document["results"].back()["bandwidth_bytes_per_s"], 0.0);
}

TEST(Report, CsvHasAColumnForEachTitle) {
  Report report = Example();
  report.results[0].error = "a \"quoted\", error";
  const std::vector<std::string> lines = absl::StrSplit(FormatCsv(report), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), report.results.size() + 1);
  EXPECT_TRUE(absl::EndsWith(lines[1], ",\"a \"\"quoted\"\", error\""));
  const auto commas = std::count(lines[0].begin(), lines[0].end(), ',');
  for (size_t row = 2; row < lines.size(); ++row) {
    EXPECT_EQ(std::count(lines[row].begin(), lines[row].end(), ','), commas) << lines[row];
  }
}

TEST(Report, SvgEscapesAndShowsEverySeries) {
  const std::string svg = FormatSvg(Example());
  EXPECT_TRUE(absl::StrContains(svg, "cpu &lt;x&gt;"));
  for (const char* text :
       {">put_bw<", ">put_lat p50<", ">put_lat p99<", "Bandwidth (GB/s)", "Latency (us)", ">1 MiB<"}) {
    EXPECT_TRUE(absl::StrContains(svg, text)) << text;
  }
}

TEST(Report, SvgOfNothingIsStillAPicture) {
  Report report = Example();
  report.results.clear();
  EXPECT_TRUE(absl::StrContains(FormatSvg(report), "no result"));
  report.results = {Result("put_bw", 100, 1)};
  EXPECT_TRUE(absl::StrContains(FormatSvg(report), "Latency under load"));
  EXPECT_FALSE(absl::StrContains(FormatSvg(report), "nan"));
}

TEST(Report, TableSaysWhatFailedAndWhatWasNotVerified) {
  TestResult result = Result("put_bw", 4096, 0.5);
  result.outstanding = 16;
  EXPECT_TRUE(absl::StrContains(FormatTableRow(result, {}), " all\n"));
  result.verified_bytes = 0;
  EXPECT_TRUE(absl::StrContains(FormatTableRow(result, {}), " no\n"));
  result.outstanding = 1;
  EXPECT_TRUE(absl::StrContains(FormatTableRow(result, {}), "1 in flight, not 16"));
  result.error = "broken";
  EXPECT_TRUE(absl::StrContains(FormatTableRow(result, {}), "failed: broken"));
}

}  // namespace
}  // namespace mcp::perf
