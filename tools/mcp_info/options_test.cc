#include "tools/mcp_info/options.h"

#include <vector>

#include "gtest/gtest.h"

namespace mcp::info {
namespace {

ParsedCommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "mcp-info");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(Options, PeersOfEveryForm) {
  const struct {
    const char* text;
    const char* host;
    int port;
  } kCases[] = {{"node7", "node7", 18515},
                {"node7:99", "node7", 99},
                {"10.0.0.1:1", "10.0.0.1", 1},
                {"::1", "::1", 18515},
                {"[::1]", "::1", 18515},
                {"[fd00::1]:65535", "fd00::1", 65535},
                {"fe80::1%eth0", "fe80::1%eth0", 18515}};
  for (const auto& peer : kCases) {
    const ParsedCommandLine parsed = Parse({"--check", peer.text});
    ASSERT_TRUE(parsed.options.has_value()) << peer.text << ": " << parsed.error;
    EXPECT_EQ(parsed.options->host, peer.host);
    EXPECT_EQ(parsed.options->port, peer.port);
    EXPECT_EQ(parsed.options->transport, "auto");
  }
}

TEST(Options, Between) {
  const ParsedCommandLine parsed = Parse({"--json", "--between", "10.0.0.1", "fd00::1"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.error;
  EXPECT_TRUE(parsed.options->json);
  EXPECT_EQ(parsed.options->from, "10.0.0.1");
  EXPECT_EQ(parsed.options->to, "fd00::1");
}

TEST(Options, WrongUsageIsStatus2AndNamesTheOption) {
  const std::vector<std::vector<const char*>> wrong = {{"--nonsense"},
                                                       {"stray"},
                                                       {"--between", "10.0.0.1"},
                                                       {"--between", "10.0.0.1", "name"},
                                                       {"--check", ":5"},
                                                       {"--check", "host:"},
                                                       {"--check", "host:0"},
                                                       {"--check", "host:65536"},
                                                       {"--check", "host:-1"},
                                                       {"--check", "[::1]x"},
                                                       {"--check", "[::1]:"},
                                                       {"--check", ""},
                                                       {"--check", "a", "--between", "10.0.0.1", "10.0.0.2"},
                                                       {"--check", "a", "--transport", "carrier-pigeon"},
                                                       {"--transport", "tcp"}};
  for (const std::vector<const char*>& arguments : wrong) {
    const ParsedCommandLine parsed = Parse(arguments);
    EXPECT_FALSE(parsed.options.has_value()) << arguments.front();
    EXPECT_EQ(parsed.exit_status, kExitUsage);
    EXPECT_EQ(parsed.error.rfind("mcp-info: ", 0), 0u) << parsed.error;
  }
}

TEST(Options, HelpIsNoError) {
  const ParsedCommandLine parsed = Parse({"--help"});
  EXPECT_FALSE(parsed.options.has_value());
  EXPECT_EQ(parsed.exit_status, kExitOk);
  EXPECT_NE(parsed.out.find("--check"), std::string::npos);
}

}  // namespace
}  // namespace mcp::info
