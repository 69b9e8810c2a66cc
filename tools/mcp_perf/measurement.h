// One measurement: what the client asks the server for, and what comes out of it.
#ifndef MCP_TOOLS_MCP_PERF_MEASUREMENT_H_
#define MCP_TOOLS_MCP_PERF_MEASUREMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mcp/session.h"
#include "tools/mcp_perf/histogram.h"
#include "tools/mcp_perf/layout.h"
#include "tools/mcp_perf/test_kind.h"

namespace mcp::perf {

// Both sides build their half of a measurement from this.
struct TestSpec {
  TestKind test = kTestKinds[0];
  Layout layout;
  int lanes = 2;  // progress threads of a bandwidth test; latency tests have none and spin
  int rails = 0;
  bool checksum = true;
  bool verify = true;
  std::string transport = "auto";  // or "verbs", "tcp"
  std::string protocol = "auto";   // of messages; or "eager", "bulk", "stream"
};

inline bool IsProtocol(absl::string_view name) {
  return name == "auto" || name == "eager" || name == "bulk" || name == "stream";
}

// Who a side is, for the report.
struct HostInfo {
  std::string host;
  std::string cpu_model;
  std::string kernel;
  int cpus = 1;  // that this process may use
};

// What a session runs over, for the report.
struct PathInfo {
  std::string transport;
  std::string device;
  int rails = 0;
  std::vector<Fallback> fallbacks;
};

// What a side's session and process did between two points. Counters only grow.
struct SideCounters {
  int64_t cpu_ns = 0;
  uint64_t wire_bytes_sent = 0;
  uint64_t retransmitted_tiles = 0;
  uint64_t checksum_failures = 0;
  uint64_t announced = 0;  // messages that did not go whole
  uint64_t streamed = 0;   // of these
  uint64_t protocol_switches = 0;

  SideCounters& operator+=(const SideCounters& other) {
    cpu_ns += other.cpu_ns;
    wire_bytes_sent += other.wire_bytes_sent;
    retransmitted_tiles += other.retransmitted_tiles;
    checksum_failures += other.checksum_failures;
    announced += other.announced;
    streamed += other.streamed;
    protocol_switches += other.protocol_switches;
    return *this;
  }
  friend SideCounters operator-(SideCounters later, const SideCounters& earlier) {
    later.cpu_ns -= earlier.cpu_ns;
    later.wire_bytes_sent -= earlier.wire_bytes_sent;
    later.retransmitted_tiles -= earlier.retransmitted_tiles;
    later.checksum_failures -= earlier.checksum_failures;
    later.announced -= earlier.announced;
    later.streamed -= earlier.streamed;
    later.protocol_switches -= earlier.protocol_switches;
    return later;
  }
};

struct TestResult {
  TestKind test = kTestKinds[0];
  uint64_t size = 0;        // bytes of one operation
  uint64_t operations = 0;  // of a ping-pong: round trips
  double seconds = 0;       // timed
  Histogram latency;
  uint64_t payload_bytes = 0;   // of the operations above; replies of a ping-pong are not counted
  uint64_t verified_bytes = 0;  // of those, compared at the receiver with what was sent
  SideCounters local;
  SideCounters remote;
  int rails = 0;             // of the measured session
  uint64_t outstanding = 0;  // operations in flight: fewer than asked for where the ring has fewer slots
  std::string error;         // empty: none
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_MEASUREMENT_H_
