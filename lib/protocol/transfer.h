// What both protocols' machines speak: a plan to begin with, work items out, reports from the other side.
//
// Machines do no I/O and read no clock: time is an argument. Everything about a transfer is named by (transfer,
// generation, offset). A new generation begins when the path was lost; what still arrives of an older one is ignored.
#ifndef MCP_LIB_PROTOCOL_TRANSFER_H_
#define MCP_LIB_PROTOCOL_TRANSFER_H_

#include <cstdint>

#include "absl/status/status.h"

namespace mcp::internal {

inline constexpr uint32_t kChunksMax = 1 << 20;  // a transfer; a bitmap of 128 KiB

struct TransferPlan {
  uint64_t transfer = 0;
  uint32_t generation = 1;
  uint64_t bytes = 0;
  uint32_t chunk_bytes = 0;  // the tile; the last chunk may be shorter
  uint32_t window = 0;       // chunks in flight at most
  int64_t retry_ns = 0;      // without a report for so long, the sender asks
  uint32_t retries_max = 0;  // unanswered questions in a row before the transfer fails
  // A chunk is taken for lost when so many that were sent after it have arrived. 0: never, for paths that deliver
  // everything or break (queue pairs, TCP), where chunks on other connections overtake it lawfully.
  uint32_t overtaken_max = 0;

  uint32_t chunks() const { return static_cast<uint32_t>((bytes + chunk_bytes - 1) / chunk_bytes); }
  uint64_t offset(uint32_t chunk) const { return uint64_t{chunk} * chunk_bytes; }
  uint32_t length(uint32_t chunk) const {
    const uint64_t left = bytes - offset(chunk);
    return left < chunk_bytes ? static_cast<uint32_t>(left) : chunk_bytes;
  }
};

// kInvalidArgument names the field: what a peer announces is checked before a machine is made of it.
absl::Status CheckPlan(const TransferPlan& plan);

enum class WorkKind : uint8_t {
  kWrite,   // payload of a chunk, silently: no notification, no completion wanted
  kChunk,   // payload of a chunk, or of a run of them, with a notification
  kCommit,  // a notification behind all writes: verify, then report
  kQuery,   // a notification behind all chunks: report
};

struct WorkItem {
  WorkKind kind = WorkKind::kWrite;
  uint32_t generation = 0;
  uint32_t chunk = 0;     // of kWrite and kChunk; of a run, the first
  uint32_t question = 0;  // of kCommit and kQuery: the report that answers carries it back
  uint64_t offset = 0;
  uint32_t length = 0;
};

// What the receiver tells. Bounded in size whatever is missing: more is learned with the next one.
struct Report {
  uint32_t generation = 0;
  uint32_t question = 0;        // the latest that was received; 0: none
  uint32_t first_missing = 0;   // every chunk below has arrived
  uint64_t arrived_beyond = 0;  // bit i: chunk first_missing + i has arrived; bit 0 is never set
  uint32_t credit_end = 0;      // chunks below may be sent
  bool complete = false;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_PROTOCOL_TRANSFER_H_
