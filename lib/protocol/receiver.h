// The receiving half of a bulk or a stream transfer.
//
// Bulk: writes land silently. A commit makes it verify every chunk that was not verified yet; when all checks are in,
// it reports. Stream: every chunk is announced, verified and delivered while the next ones travel; in order, or as they
// come. Both count a chunk once, whatever is repeated, and ignore what belongs to another generation.
//
//   receiver.OnCommit(...) / OnChunk(...) / OnQuery(...) / OnVerified(...)
//   while (receiver.NextToVerify(&chunk)) ...   while (receiver.NextToDeliver(&chunk)) ...
//   while (receiver.NextReport(&report)) Send(report);
//
// One a transfer, for one thread. Memory is taken when it is made: a few bits a chunk.
#ifndef MCP_LIB_PROTOCOL_RECEIVER_H_
#define MCP_LIB_PROTOCOL_RECEIVER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "lib/protocol/chunk_set.h"
#include "lib/protocol/transfer.h"

namespace mcp::internal {

enum class ReceiverState : uint8_t {
  kOpen,
  kVerifying,  // bulk: a commit came, and checks are under way
  kDone,       // every chunk arrived and was delivered
};

enum class ReceiverEvent : uint8_t { kCommit, kChecked, kComplete };

class BulkReceiver {
 public:
  explicit BulkReceiver(const TransferPlan& plan);

  // kInvalidArgument: the peer broke the protocol.
  absl::Status OnCommit(uint32_t generation, uint32_t question);
  // The answer to NextToVerify: whether the chunk's bytes are what the sender's checksum says.
  void OnVerified(uint32_t chunk, bool intact);
  // The path was lost: a new generation, in which what was verified stays so. Its report is what the sender needs.
  Report Resume(uint32_t generation);

  bool NextToVerify(uint32_t* chunk);
  bool NextReport(Report* report);

  ReceiverState state() const { return state_; }
  uint32_t chunks_arrived() const { return arrived_.count(); }

 private:
  Report Make() const;

  TransferPlan plan_;
  ReceiverState state_ = ReceiverState::kOpen;
  ChunkSet arrived_;     // verified
  ChunkSet unverified_;  // still to be handed out by NextToVerify
  uint32_t checks_out_ = 0;
  uint32_t question_ = 0;
  bool report_ = false;
};

class StreamReceiver {
 public:
  // Chunks that may wait for the user at once: the sender's credit.
  StreamReceiver(const TransferPlan& plan, bool in_order, uint32_t buffered_max);

  // A chunk's notification. `intact`: its bytes were verified. kInvalidArgument: the peer broke the protocol.
  absl::Status OnChunk(uint32_t generation, uint32_t chunk, bool intact);
  absl::Status OnQuery(uint32_t generation, uint32_t question);
  Report Resume(uint32_t generation);

  // The next chunk that the user may have; each exactly once. Taking it gives the sender credit.
  bool NextToDeliver(uint32_t* chunk);
  // Due after every second chunk, at a gap, for a question, and at the end.
  bool NextReport(Report* report);

  ReceiverState state() const { return state_; }
  uint32_t initial_credit_end() const;
  uint32_t chunks_arrived() const { return arrived_.count(); }

 private:
  static constexpr uint32_t kReportEvery = 2;

  Report Make() const;

  TransferPlan plan_;
  const bool in_order_;
  const uint32_t buffered_max_;
  ReceiverState state_ = ReceiverState::kOpen;
  ChunkSet arrived_;
  ChunkSet undelivered_;
  uint32_t first_missing_ = 0;     // every chunk below has arrived
  uint32_t undelivered_from_ = 0;  // none below waits for the user
  uint32_t delivered_ = 0;
  uint32_t question_ = 0;
  uint32_t unreported_ = 0;
  bool report_ = false;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_PROTOCOL_RECEIVER_H_
