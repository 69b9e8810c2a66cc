// Frames on their way out: staged until the lane's next round, then sent in one go.
//
// Budget: header and small payload are copied once, into a block that is hot in the cache; larger payload is gathered
// from where it lies. One send a batch; while it is under way the next batch fills, and what goes beyond is refused,
// which is the connection's back-pressure.
//
// Thread rule: one lane. Idle senders hold nothing.
#ifndef MCP_TRANSPORTS_TCP_CONTROL_SENDER_H_
#define MCP_TRANSPORTS_TCP_CONTROL_SENDER_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "lib/transport/transport.h"
#include "transports/tcp/block_pool.h"

namespace mcp::internal {

// Payload of messages up to this size is copied: cheaper than a gather entry's bookkeeping on both sides of the call.
inline constexpr uint32_t kCopyBytesMax = 2048;
// A batch is full from here on.
inline constexpr uint32_t kBatchBytesMax = 256 * 1024;
inline constexpr uint32_t kBatchPartsMax = 128;

struct SendBatch {
  SendBatch* next = nullptr;
  Block* head = nullptr;
  Block* tail = nullptr;
  uint32_t bytes = 0;
  uint32_t count = 0;  // of parts
  msghdr message = {};
  iovec parts[kBatchPartsMax];
  std::vector<uint64_t> signaled;  // work whose payload is gathered and whose kSent is wanted
};

struct SendPools {
  BlockPool* blocks;
  ObjectPool<SendBatch>* batches;
};

// Drops the first `bytes` of a gather list, which holds at least as many.
void AdvanceGather(msghdr* message, size_t bytes);

class ControlSender {
 public:
  // False: full; nothing was taken.
  bool Append(const SendPools& pools, const WorkRequest& work);

  bool staged() const { return staged_ != nullptr; }
  uint32_t staged_bytes() const { return staged_ == nullptr ? 0 : staged_->bytes; }
  bool sending() const { return sending_ != nullptr; }

  // Staged frames become the send under way. Needs staged() and not sending().
  msghdr* Begin();
  // What is left of it, after a short send.
  msghdr* message() { return &sending_->message; }
  // True when the batch has left entirely.
  bool Advance(uint32_t bytes);
  const std::vector<uint64_t>& signaled() const { return sending_->signaled; }
  // Returns the batch's memory.
  void Finish(const SendPools& pools);

  void Clear(const SendPools& pools);
  uint64_t memory_bytes() const;

 private:
  static void Return(const SendPools& pools, SendBatch* batch);

  SendBatch* staged_ = nullptr;
  SendBatch* sending_ = nullptr;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_CONTROL_SENDER_H_
