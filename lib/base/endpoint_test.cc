#include "lib/base/endpoint.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(Endpoint, RoundTrip) {
  const std::pair<const char*, Endpoint> cases[] = {
      {"127.0.0.1:18515", {"127.0.0.1", 18515}},
      {"node-7.cluster:1", {"node-7.cluster", 1}},
      {"[::1]:0", {"::1", 0}},
      {"[fe80::1%eth0]:65535", {"fe80::1%eth0", 65535}},
  };
  for (const auto& [text, endpoint] : cases) {
    const auto parsed = ParseEndpoint(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, endpoint) << text;
    EXPECT_EQ(FormatEndpoint(endpoint), text);
  }
}

TEST(Endpoint, DefaultPort) {
  EXPECT_EQ(*ParseEndpoint("host", 18515), (Endpoint{"host", 18515}));
  EXPECT_EQ(*ParseEndpoint("[::1]", 18515), (Endpoint{"::1", 18515}));
  EXPECT_EQ(*ParseEndpoint("host:1", 18515), (Endpoint{"host", 1}));
  EXPECT_EQ(ParseEndpoint("host").status(),
            absl::InvalidArgumentError("address \"host\": the port is missing (expected \"HOST:PORT\")"));
}

TEST(Endpoint, RefusesWithAReason) {
  for (const char* text : {"", ":1", "host:", "host:65536", "host:-1", "host:1x", "host:99999999999", "::1", "::1:80",
                           "[::1", "[::1]80", "[]:1", "[host]:1", "[::1]:"}) {
    const absl::Status status = ParseEndpoint(text, 5).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text << ": " << status;
  }
}

}  // namespace
}  // namespace mcp::internal
