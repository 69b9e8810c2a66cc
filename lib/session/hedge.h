// A message that goes by two rails, so that a stall of one does not hold it up: the receiver takes whichever copy is
// whole first and discards the other.
//
// Rails deliver each frame exactly once, so of each hedged message exactly two copies arrive, in either order, and one
// bit for each number tells the first from the second. That is why a copy is never taken back once it was launched.
// Hedging against stragglers is due to J. Dean and L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013.
//
// Lifetime: the copies' bytes belong to the hedge, which goes back to its pool with the last of them; the sender's own
// buffer is needed no longer once the message was launched.
#ifndef MCP_LIB_SESSION_HEDGE_H_
#define MCP_LIB_SESSION_HEDGE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/session/operation.h"
#include "mcp/completion.h"

namespace mcp::internal {

struct Hedge {
  Hedge* next = nullptr;              // in the pool
  SharedPool<Hedge>* pool = nullptr;  // that it came from
  std::atomic<uint32_t> copies_left{0};
  std::atomic<bool> answered{false};  // the completion has run, or is about to
  uint64_t number = 0;
  uint64_t tag = 0;
  uint64_t bytes = 0;
  OperationId id = 0;
  Completion completion;
  uint64_t capacity = 0;
  std::unique_ptr<std::byte[]> payload;
};

// A bit for each of the last kSize numbers. Any thread.
class HedgeWindow {
 public:
  static constexpr uint64_t kSize = 1024;

  bool Holds(uint64_t number) const { return (WordOf(number).load(std::memory_order_acquire) & BitOf(number)) != 0; }
  // True when the bit is set now.
  bool Flip(uint64_t number) {
    return (WordOf(number).fetch_xor(BitOf(number), std::memory_order_acq_rel) & BitOf(number)) == 0;
  }

 private:
  static uint64_t BitOf(uint64_t number) { return uint64_t{1} << (number % 64); }
  const std::atomic<uint64_t>& WordOf(uint64_t number) const { return words_[number % kSize / 64]; }
  std::atomic<uint64_t>& WordOf(uint64_t number) { return words_[number % kSize / 64]; }

  std::array<std::atomic<uint64_t>, kSize / 64> words_{};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_HEDGE_H_
