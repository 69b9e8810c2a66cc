#include "tools/mcp_perf/options.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace mcp::perf {
namespace {

ParsedCommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "mcp-perf");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(Options, DefaultsAreTheContracts) {
  const ParsedCommandLine parsed = Parse({"host1"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.error;
  const Options& options = *parsed.options;
  EXPECT_EQ(options.mode, Options::Mode::kClient);
  EXPECT_EQ(options.host, "host1");
  ASSERT_EQ(options.tests.size(), 2u);
  EXPECT_STREQ(options.tests[0].name, "put_bw");
  EXPECT_STREQ(options.tests[1].name, "put_lat");
  EXPECT_EQ(options.sizes.front(), 64u);
  EXPECT_EQ(options.sizes.back(), 16u << 20);
  EXPECT_EQ(options.outstanding, 16u);
  EXPECT_EQ(options.duration_s, 1);
  EXPECT_FALSE(options.port.has_value());
  EXPECT_TRUE(options.verify);
  EXPECT_TRUE(options.checksum);
}

TEST(Options, ModesFollowFromHostAndLoopback) {
  EXPECT_EQ(Parse({}).options->mode, Options::Mode::kServer);
  EXPECT_EQ(Parse({"--loopback"}).options->mode, Options::Mode::kLoopback);
  EXPECT_EQ(Parse({"::1"}).options->host, "::1");
  EXPECT_EQ(Parse({"[::1]"}).options->host, "::1");
}

TEST(Options, TransportAndItsDevice) {
  EXPECT_EQ(Parse({"--loopback"}).options->transport, "auto");
  const Options options =
      *Parse({"--transport", "verbs", "--device", "mlx5_0/1,mlx5_1", "--gid-index", "3", "h"}).options;
  EXPECT_EQ(options.transport, "verbs");
  EXPECT_EQ(options.devices, std::vector<std::string>({"mlx5_0/1", "mlx5_1"}));
  EXPECT_EQ(options.gid_index, 3);
}

TEST(Options, AllLeavesOutWhatIsMissingAndSaysSo) {
  const Options options = *Parse({"-t", "all", "--transport", "tcp", "h"}).options;
  EXPECT_EQ(options.tests.size(), kTestKinds.size());
  ASSERT_EQ(options.fallbacks.size(), 1u);
  EXPECT_EQ(options.fallbacks[0].wanted, "replicate_bw");
}

struct Refused {
  std::vector<const char*> arguments;
  const char* named;  // in the message
};

TEST(Options, RefusalsNameTheOption) {
  const std::vector<Refused> all = {
      {{"--nonsense"}, "--nonsense"},
      {{"-t", "put"}, "--test"},
      {{"-t", "replicate_bw"}, "--test"},
      {{"-s", "64Q"}, "--size"},
      {{"-n", "0"}, "--iterations"},
      {{"-n", "-5"}, "--iterations"},
      {{"-n", "5", "-D", "1"}, "--iterations"},
      {{"-D", "x"}, "--duration"},
      {{"-D", "-1"}, "--duration"},
      {{"-D", "nan"}, "--duration"},
      {{"-w", "x"}, "--warmup"},
      {{"-o", "0"}, "--outstanding"},
      {{"-o", "9999999"}, "--outstanding"},
      {{"-p", "70000"}, "--port"},
      {{"-p", "0", "host"}, "--port"},
      {{"-B", "10.0.0.1", "host"}, "--bind"},
      {{"--transport", "quic"}, "--transport"},
      {{"--transport", "tcp", "--device", "mlx5_0"}, "--device"},
      {{"--transport", "tcp", "--gid-index", "3"}, "--gid-index"},
      {{"--device", "mlx5_0,,mlx5_1"}, "--device"},
      {{"--gid-index", "x"}, "--gid-index"},
      {{"--rails", "9"}, "--rails"},
      {{"--rails", "0"}, "--rails"},
      {{"--memory", "cuda:0"}, "--memory"},
      {{"--remote-memory", "cuda"}, "--remote-memory"},
      {{"--memory", "disk"}, "--memory"},
      {{"--protocol", "replica"}, "--protocol"},
      {{"--protocol", "stream", "-t", "put_bw,get_bw"}, "--protocol"},
      {{"--copies", "2"}, "--copies"},
      {{"--codec", "zstd"}, "--codec"},
      {{"--codec", "auto"}, "--codec"},
      {{"--max-error", "0.1"}, "--max-error"},
      {{"--data", "noise"}, "--data"},
      {{"--checksum", "some"}, "--checksum"},
      {{"--json", "-", "--csv", "-"}, "--csv"},
      {{"--plot", "-"}, "--plot"},
      {{"--json"}, "--json"},
      {{"--loopback", "host"}, "--loopback"},
      {{"--loopback", "--once"}, "--once"},
      {{"host:18515"}, "--port"},
      {{"a,b"}, "HOST"},
  };
  for (const Refused& refused : all) {
    const ParsedCommandLine parsed = Parse(refused.arguments);
    EXPECT_FALSE(parsed.options.has_value()) << refused.named;
    EXPECT_EQ(parsed.exit_status, kExitUsage) << refused.named;
    EXPECT_TRUE(absl::StrContains(parsed.error, refused.named)) << parsed.error;
    EXPECT_TRUE(absl::StartsWith(parsed.error, "mcp-perf: ")) << parsed.error;
  }
}

TEST(Options, WhatIsMissingSaysThatThisBuildHasNoSuchThing) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{
           {"--memory", "cuda"}, {"--codec", "lz4"}, {"--copies", "3"}, {"-t", "replicate_bw"}}) {
    EXPECT_TRUE(absl::StrContains(Parse(arguments).error, "this build has no ")) << Parse(arguments).error;
  }
}

TEST(Options, HelpAndVersionGoToStdout) {
  EXPECT_TRUE(absl::StrContains(Parse({"--help"}).out, "--iterations"));
  EXPECT_EQ(Parse({"--help"}).exit_status, kExitOk);
  EXPECT_FALSE(Parse({"--version"}).out.empty());
}

}  // namespace
}  // namespace mcp::perf
