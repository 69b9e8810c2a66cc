// Payload of writes on its way out, in the order of posting, never copied in user space.
//
// Thread rule: one lane. Idle senders hold nothing.
#ifndef MCP_TRANSPORTS_TCP_DATA_SENDER_H_
#define MCP_TRANSPORTS_TCP_DATA_SENDER_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>

#include "lib/base/ring.h"
#include "transports/tcp/block_pool.h"

namespace mcp::internal {

// Writes of one connection that wait for their payload to leave; more are back-pressure.
inline constexpr uint32_t kPiecesMax = 256;
// One gather list takes at most so much: enough to make the call cheap, little enough to let others in between.
inline constexpr uint64_t kGatherBytesMax = 1024 * 1024;
inline constexpr uint32_t kGatherPartsMax = 64;

struct Piece {
  std::byte* data = nullptr;
  uint64_t bytes = 0;
  uint64_t work_id = 0;
  bool signaled = false;
};

struct DataQueue {
  DataQueue* next = nullptr;
  Ring<Piece> pieces{kPiecesMax};
  msghdr message = {};
  iovec parts[kGatherPartsMax];
};

class DataSender {
 public:
  bool full() const { return queue_ != nullptr && queue_->pieces.full(); }
  bool empty() const { return queue_ == nullptr; }
  void Append(ObjectPool<DataQueue>* pool, const Piece& piece) {
    if (queue_ == nullptr) queue_ = pool->Acquire();
    queue_->pieces.PushBack(piece);
  }

  // Needs !empty().
  const Piece& front() const { return queue_->pieces.Front(); }

  // The front of the queue as a gather list, up to the first piece that is signaled if those are to be left out. The
  // list stays as it is until the next call.
  msghdr* Gather(uint64_t bytes_max, bool unsignaled_only);

  // Takes `bytes` off the front; calls sent(work_id) for each signaled piece that this finishes.
  template <class Sent>
  void Advance(ObjectPool<DataQueue>* pool, uint64_t bytes, Sent sent) {
    while (bytes > 0) {
      Piece& piece = queue_->pieces.Front();
      const uint64_t taken = bytes < piece.bytes ? bytes : piece.bytes;
      piece.data += taken;
      piece.bytes -= taken;
      bytes -= taken;
      if (piece.bytes > 0) return;
      if (piece.signaled) sent(piece.work_id);
      queue_->pieces.PopFront();
    }
    if (queue_->pieces.empty()) Clear(pool);
  }

  void Clear(ObjectPool<DataQueue>* pool) {
    if (queue_ == nullptr) return;
    queue_->pieces.Clear();
    pool->Release(queue_);
    queue_ = nullptr;
  }
  uint64_t memory_bytes() const { return queue_ == nullptr ? 0 : sizeof(DataQueue) + kPiecesMax * sizeof(Piece); }

 private:
  DataQueue* queue_ = nullptr;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_DATA_SENDER_H_
