// The tests that mcp-perf knows, and what tells them apart.
#ifndef MCP_TOOLS_MCP_PERF_TEST_KIND_H_
#define MCP_TOOLS_MCP_PERF_TEST_KIND_H_

#include <array>
#include <optional>

#include "absl/strings/string_view.h"

namespace mcp::perf {

enum class Operation { kPut, kGet, kSend };

struct TestKind {
  const char* name;
  Operation operation;
  bool latency;  // a ping-pong (or a Get after the other), not a stream of operations

  // A Get moves payload to the client, everything else to the server.
  bool client_receives() const { return latency || operation == Operation::kGet; }
  bool server_receives() const { return operation != Operation::kGet; }
};

inline constexpr std::array<TestKind, 6> kTestKinds = {{
    {"put_bw", Operation::kPut, false},
    {"put_lat", Operation::kPut, true},
    {"get_bw", Operation::kGet, false},
    {"get_lat", Operation::kGet, true},
    {"send_bw", Operation::kSend, false},
    {"send_lat", Operation::kSend, true},
}};

// A test that the command line knows and this build does not have.
inline constexpr absl::string_view kReplicateTest = "replicate_bw";

inline std::optional<TestKind> FindTestKind(absl::string_view name) {
  for (const TestKind& kind : kTestKinds) {
    if (name == kind.name) return kind;
  }
  return std::nullopt;
}

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_TEST_KIND_H_
