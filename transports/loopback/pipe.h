// One direction of a loopback connection: a bounded ring of parcels from one lane to another.
//
// The producer is the sending end's lane, the consumer the receiving end's. A parcel passes three marks: published by
// the producer, consumed by the consumer, reaped by the producer (who reports kSent then). Its slot is free once
// reaped.
//
// Payload stays in the lender's memory until the consumer copies it, straight to where it belongs: one copy. So the
// producer may say kClosed only when no copy is going on: BeginRead and Close settle who came first.
#ifndef MCP_TRANSPORTS_LOOPBACK_PIPE_H_
#define MCP_TRANSPORTS_LOOPBACK_PIPE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/transport/transport.h"

namespace mcp::internal {

struct LoopbackParcel {
  WorkRequest::Kind kind = WorkRequest::Kind::kMessage;
  bool signaled = false;
  uint32_t header_bytes = 0;
  const std::byte* payload = nullptr;
  uint64_t payload_bytes = 0;
  uint64_t key = 0;
  uint64_t offset = 0;
  uint64_t work_id = 0;
  int64_t due_ns = 0;  // not delivered before
  std::byte header[kHeaderBytesMax];
};

class LoopbackPipe {
 public:
  // capacity: a power of two.
  explicit LoopbackPipe(uint32_t capacity) : parcels_(new LoopbackParcel[capacity]), mask_(capacity - 1) {}

  // --- Producer ---

  // The slot to fill, or null when the ring is full; then the consumer will signal the producer when it has room.
  LoopbackParcel* Reserve() {
    if (published_.load(std::memory_order_relaxed) - reaped_ <= mask_) return Slot(published_);
    SkipUnsignaled();
    if (published_.load(std::memory_order_relaxed) - reaped_ <= mask_) return Slot(published_);
    blocked_.store(true);
    SkipUnsignaled();  // what was consumed before the consumer could see `blocked_`
    if (published_.load(std::memory_order_relaxed) - reaped_ > mask_) return nullptr;
    blocked_.store(false);
    return Slot(published_);
  }
  void Publish() { published_.fetch_add(1, std::memory_order_release); }

  // The oldest parcel that was signaled and consumed, or null. Reap it when its kSent has been reported.
  const LoopbackParcel* NextSent() {
    // One reading of consumed_: what the consumer finishes meanwhile has not been looked at for its signal.
    const uint64_t consumed = SkipUnsignaled();
    return reaped_ == consumed ? nullptr : &parcels_[reaped_ & mask_];
  }
  void Reap() { ++reaped_; }

  // From here on the consumer begins no read of lent memory. One that had begun goes on while reading() says so.
  void Close() { closed_.store(true); }
  bool reading() const { return reading_.load(); }

  // --- Consumer ---

  // Brackets every look at a parcel. Returns whether the producer has closed: then payload must not be touched.
  bool BeginRead() {
    reading_.store(true);
    return closed_.load();
  }
  void EndRead() { reading_.store(false, std::memory_order_release); }

  const LoopbackParcel* Front() const {
    const uint64_t consumed = consumed_.load(std::memory_order_relaxed);
    return consumed == published_.load(std::memory_order_acquire) ? nullptr : &parcels_[consumed & mask_];
  }
  // Done with Front. Returns whether the producer waits for that.
  bool Consume() {
    const bool signaled = parcels_[consumed_.load(std::memory_order_relaxed) & mask_].signaled;
    consumed_.fetch_add(1);
    return (blocked_.load() && blocked_.exchange(false)) || signaled;
  }

  uint64_t memory_bytes() const { return (mask_ + 1) * sizeof(LoopbackParcel); }

 private:
  LoopbackParcel* Slot(const std::atomic<uint64_t>& at) {
    return &parcels_[at.load(std::memory_order_relaxed) & mask_];
  }
  // Returns how far it looked.
  uint64_t SkipUnsignaled() {
    const uint64_t consumed = consumed_.load();
    while (reaped_ != consumed && !parcels_[reaped_ & mask_].signaled) ++reaped_;
    return consumed;
  }

  const std::unique_ptr<LoopbackParcel[]> parcels_;
  const uint64_t mask_;
  // The producer's line.
  alignas(64) std::atomic<uint64_t> published_{0};
  uint64_t reaped_ = 0;
  std::atomic<bool> closed_{false};
  std::atomic<bool> blocked_{false};
  // The consumer's line.
  alignas(64) std::atomic<uint64_t> consumed_{0};
  std::atomic<bool> reading_{false};
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_LOOPBACK_PIPE_H_
