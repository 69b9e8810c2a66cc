// What the two sides of mcp-perf say to each other beside the measured traffic: JSON objects of at most
// kControlBytesMax, versioned by the first one. Whatever comes from the peer is checked field by field; an error names
// the message, the field and its value.
//
//   client                                     server
//   hello {protocol, version, host...}    ->
//                                         <-   hello {...}, or queued while another client is served
//   prepare {test spec}                   ->   makes buffers and a listener for the measured session
//                                         <-   prepared {port, source, ring}
//   connects, puts the source pattern there
//   connected {digest, ring}              ->   compares the digest, arms the ring
//                                         <-   ready {transport, device, rails}
//   begin {generation, count}             ->   (send tests) receives are posted
//                                         <-   begun
//   runs the window
//   end {generation, count}               ->   compares every slot
//                                         <-   ended {verified_bytes, counters}
//   ... more windows, then finish         ->   <- finished; then the next prepare, or the session ends
//
// An error {message} in place of any answer ends the measurement, not the session.
#ifndef MCP_TOOLS_MCP_PERF_CONTROL_MESSAGES_H_
#define MCP_TOOLS_MCP_PERF_CONTROL_MESSAGES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mcp/region.h"
#include "nlohmann/json.hpp"
#include "tools/mcp_perf/measurement.h"

namespace mcp::perf {

using Json = nlohmann::json;

inline constexpr uint64_t kControlProtocol = 3;
inline constexpr size_t kControlBytesMax = 16384;
inline constexpr size_t kControlTextMax = 1024;  // bytes of one string

// The message's bytes, or kResourceExhausted when it is too long.
absl::StatusOr<std::string> EncodeMessage(const Json& message);
// An object with a "type". kInvalidArgument otherwise.
absl::StatusOr<Json> DecodeMessage(absl::string_view bytes);

std::string MessageType(const Json& message);
// OK when the message is of that type. An error message becomes a status with the peer's words.
absl::Status ExpectType(const Json& message, absl::string_view type);

Json ErrorMessage(const absl::Status& status);

absl::StatusOr<uint64_t> UintField(const Json& message, const char* field, uint64_t min, uint64_t max);
absl::StatusOr<bool> BoolField(const Json& message, const char* field);
absl::StatusOr<std::string> TextField(const Json& message, const char* field);

Json EncodeHello(const HostInfo& host);
// kFailedPrecondition when the peer speaks another version of this protocol.
absl::StatusOr<HostInfo> DecodeHello(const Json& message);

Json EncodeSpec(const TestSpec& spec);
absl::StatusOr<TestSpec> DecodeSpec(const Json& message);

Json EncodePath(const PathInfo& path);
absl::StatusOr<PathInfo> DecodePath(const Json& message);

void EncodeCounters(const SideCounters& counters, Json& message);
absl::StatusOr<SideCounters> DecodeCounters(const Json& message);

std::string EncodeRegion(const RemoteRegion& region);
absl::StatusOr<RemoteRegion> RegionField(const Json& message, const char* field);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_CONTROL_MESSAGES_H_
