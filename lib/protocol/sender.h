// The sending half of a bulk or a stream transfer.
//
// Bulk: every chunk as a silent write, then one commit, which is also the question "what is missing?". What the report
// says is missing is written again, and committed again.
// Stream: every chunk with a notification, as far as credit and window allow. Reports free the window; where the path
// may lose chunks, one that was overtaken by several that were sent later is sent again, alone.
//
// Both ask when they hear nothing for a while, and give up after `retries_max` questions. After the path was lost they
// stand still until they are resumed with a new generation and the receiver's report.
//
//   while (sender.Next(now, &item)) Post(item);      after every event, and when the transport has room again
//   sender.OnReport(report, now); sender.OnTimeout(now); sender.OnPathLost(); sender.Resume(...)
//
// One a transfer at a time, for one thread. Memory is taken when it begins, two bits and four bytes a chunk, and kept
// for the next transfer.
#ifndef MCP_LIB_PROTOCOL_SENDER_H_
#define MCP_LIB_PROTOCOL_SENDER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "lib/protocol/chunk_set.h"
#include "lib/protocol/transfer.h"

namespace mcp::internal {

enum class SenderState : uint8_t {
  kSending,    // chunks are left to be sent
  kWaiting,    // everything was sent; the receiver's word is waited for
  kSuspended,  // the path is lost
  kDone,
  kFailed,
};

enum class SenderEvent : uint8_t { kAllSent, kMissing, kComplete, kPathLost, kResumed, kGaveUp, kCancelled };

class Sender {
 public:
  virtual ~Sender() = default;

  // What to post next; false when there is nothing to post now.
  virtual bool Next(int64_t now_ns, WorkItem* item) = 0;

  // On a rail that acknowledges each chunk itself, once it is there and whole: that one has arrived.
  void OnArrived(uint32_t chunk, int64_t now_ns);
  // kInvalidArgument: the report names what cannot be (the peer broke the protocol).
  absl::Status OnReport(const Report& report, int64_t now_ns);
  void OnTimeout(int64_t now_ns);
  void OnPathLost() { Happen(SenderEvent::kPathLost); }
  void Cancel() { Happen(SenderEvent::kCancelled); }
  // `report` is the receiver's first of the new generation, which must be later than the last.
  absl::Status Resume(uint32_t generation, const Report& report, int64_t now_ns);

  SenderState state() const { return state_; }
  // When OnTimeout is due; kNever when nothing is waited for.
  int64_t deadline_ns() const { return deadline_ns_; }
  uint32_t generation() const { return plan_.generation; }
  uint64_t chunks_resent() const { return chunks_resent_; }

  static constexpr int64_t kNever = INT64_MAX;

 protected:
  Sender() = default;
  explicit Sender(const TransferPlan& plan) { Begin(plan); }
  void Begin(const TransferPlan& plan);

  // Takes a chunk from those that are left to be sent.
  WorkItem Take(uint32_t chunk, WorkKind kind);
  WorkItem Ask(WorkKind kind, int64_t now_ns);
  bool Happen(SenderEvent event);
  // The chunk has not arrived, and the receiver knows of `arrived_order` that did.
  virtual bool IsLost(uint32_t chunk, uint32_t arrived_order, bool answered) const = 0;

  TransferPlan plan_;
  SenderState state_ = SenderState::kSending;
  ChunkSet unsent_;              // to be sent, or to be sent again
  ChunkSet arrived_;             // as far as reports said
  std::vector<uint32_t> order_;  // of each chunk's last sending; 0: never sent
  uint32_t next_order_ = 1;
  uint32_t question_ = 0;        // the last that was asked
  uint32_t question_order_ = 0;  // chunks of a lower order were sent before it
  uint32_t answered_ = 0;
  uint32_t credit_end_ = 0;
  bool ask_ = false;
  int64_t deadline_ns_ = kNever;

 private:
  uint32_t MarkArrived(const Report& report);
  void Requeue(const Report& report, uint32_t arrived_order);

  uint32_t unanswered_ = 0;
  uint64_t chunks_resent_ = 0;
};

class BulkSender final : public Sender {
 public:
  explicit BulkSender(const TransferPlan& plan) : Sender(plan) {}
  bool Next(int64_t now_ns, WorkItem* item) override;

 private:
  bool IsLost(uint32_t chunk, uint32_t arrived_order, bool answered) const override;
};

class StreamSender final : public Sender {
 public:
  // To be begun before anything else is asked of it.
  StreamSender() = default;
  StreamSender(const TransferPlan& plan, uint32_t credit_end) { Begin(plan, credit_end); }
  // `credit_end`: what the receiver lets through before its first report.
  void Begin(const TransferPlan& plan, uint32_t credit_end);
  bool Next(int64_t now_ns, WorkItem* item) override { return NextRun(now_ns, 1, item); }
  // The same, but as many chunks as follow one another and may be sent, up to `chunks_max`, are one item.
  bool NextRun(int64_t now_ns, uint32_t chunks_max, WorkItem* item);

 private:
  bool IsLost(uint32_t chunk, uint32_t arrived_order, bool answered) const override;
  bool MaySend(uint32_t chunk) const { return chunk < credit_end_ && InFlight() < plan_.window; }
  uint32_t InFlight() const { return plan_.chunks() - unsent_.count() - arrived_.count(); }
};

}  // namespace mcp::internal

#endif  // MCP_LIB_PROTOCOL_SENDER_H_
