// What was received behind a write that has not landed yet, and the writes themselves, in the order of arrival.
//
// Records lie one behind the other in pooled blocks; a block goes back when its last record has been taken. Writes are
// also linked to each other, in the order in which their payload comes on the data socket.
//
// Thread rule: one lane. Empty queues hold nothing.
#ifndef MCP_TRANSPORTS_TCP_HELD_QUEUE_H_
#define MCP_TRANSPORTS_TCP_HELD_QUEUE_H_

#include <cstddef>
#include <cstdint>

#include "lib/wire/tcp_frame.h"
#include "transports/tcp/block_pool.h"

namespace mcp::internal {

struct HeldRecord {
  enum class State : uint8_t {
    kMessage,   // plain; may be delivered as soon as it is at the front
    kExpected,  // a write whose payload has not landed
    kLanded,
    kStale,
    kRefused,
  };
  HeldRecord* next = nullptr;
  HeldRecord* next_write = nullptr;
  State state = State::kMessage;
  bool stale = false;   // some of the payload was discarded
  bool pinned = false;  // `slot` is, for the receive under way
  uint32_t slot = 0;
  uint32_t body_bytes = 0;
  uint64_t key = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t received = 0;

  const std::byte* body() const { return reinterpret_cast<const std::byte*>(this + 1); }
};

class HeldQueue {
 public:
  bool empty() const { return front_ == nullptr; }
  HeldRecord* front() { return front_; }
  // The first write whose payload has not been received entirely.
  HeldRecord* expected() { return expected_; }
  uint64_t bytes() const { return bytes_; }

  HeldRecord* Push(BlockPool* pool, const TcpFrame& frame);
  // The expected write has got all of its payload.
  void FinishExpected() { expected_ = expected_->next_write; }
  // The front record's memory stays until the blocks that are added to `retired` are released.
  void Pop(Block** retired);
  // Drops everything, likewise.
  void Clear(Block** retired);

 private:
  HeldRecord* front_ = nullptr;
  HeldRecord* back_ = nullptr;
  HeldRecord* expected_ = nullptr;
  HeldRecord* last_write_ = nullptr;
  Block* first_block_ = nullptr;  // holds front_
  Block* last_block_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_HELD_QUEUE_H_
