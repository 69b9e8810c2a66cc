// Numbers that lanes count without locks or shared cache lines.
//
// Shards. Shard 0 may be written by any thread (a locked instruction); each other shard belongs to one thread, a lane,
// whose increments are a plain load, add and store: about 1 ns. By convention a lane's shard is its index plus one.
//
// Thread rule: reading from any thread; a reader sees each increment whole, and sees it soon.
#ifndef MCP_LIB_METRICS_COUNTER_H_
#define MCP_LIB_METRICS_COUNTER_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "lib/base/assert.h"

namespace mcp::internal {

inline constexpr uint32_t kAnyThreadShard = 0;

// Adds to what one thread alone writes, or (shared) what any may write.
inline void AddRelaxed(std::atomic<uint64_t>* value, uint64_t amount, bool shared) {
  if (shared) {
    value->fetch_add(amount, std::memory_order_relaxed);
  } else {
    value->store(value->load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
}

// Only grows.
class Counter {
 public:
  // `shards` is the number of lanes plus one. 64 bytes each.
  explicit Counter(uint32_t shards) : count_(shards), shards_(new Shard[shards]) {}

  void Add(uint32_t shard, uint64_t amount = 1) {
    MCP_ASSERT(shard < count_);
    AddRelaxed(&shards_[shard].value, amount, shard == kAnyThreadShard);
  }

  uint64_t Value() const {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count_; ++i) sum += shards_[i].value.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  struct alignas(64) Shard {
    std::atomic<uint64_t> value{0};
  };
  const uint32_t count_;
  const std::unique_ptr<Shard[]> shards_;
};

// Goes up and down. Not sharded: for what changes rarely.
class Gauge {
 public:
  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Add(int64_t delta) { value_.fetch_add(delta, std::memory_order_relaxed); }
  int64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_METRICS_COUNTER_H_
