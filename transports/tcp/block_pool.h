// Memory for what must be kept for a while: staged frames, messages behind an unfinished write, partial frames. One
// pool a lane; idle connections hold none.
//
// Blocks are reused last in, first out, so that a quiet lane works in a block or two that stay in the cache. New ones
// are allocated only while more are in use than ever before.
//
// Thread rule: one lane. Lifetime: every block is returned before the pool ends.
#ifndef MCP_TRANSPORTS_TCP_BLOCK_POOL_H_
#define MCP_TRANSPORTS_TCP_BLOCK_POOL_H_

#include <cstddef>
#include <cstdint>

#include "lib/wire/tcp_frame.h"

namespace mcp::internal {

struct Block {
  Block* next = nullptr;
  uint32_t capacity = 0;
  uint32_t used = 0;

  std::byte* bytes() { return reinterpret_cast<std::byte*>(this + 1); }
  uint32_t room() const { return capacity - used; }
};

class BlockPool {
 public:
  static constexpr uint32_t kSmallBytes = 16 * 1024 - sizeof(Block);
  // Holds the longest frame, or the record of one.
  static constexpr uint32_t kLargeBytes = kTcpFramePrefixBytes + kTcpFrameBodyBytesMax + 256;
  // Kept for reuse; more are given back to the system.
  static constexpr uint32_t kSmallKeptMax = 4096;
  static constexpr uint32_t kLargeKeptMax = 32;

  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // An empty block with room for `bytes`, at most kLargeBytes.
  Block* Acquire(uint32_t bytes) {
    FreeList& list = bytes <= kSmallBytes ? small_ : large_;
    if (list.head == nullptr) return Allocate(bytes <= kSmallBytes ? kSmallBytes : kLargeBytes);
    Block* block = list.head;
    list.head = block->next;
    --list.count;
    block->next = nullptr;
    block->used = 0;
    return block;
  }

  void Release(Block* block) {
    FreeList& list = block->capacity == kSmallBytes ? small_ : large_;
    if (list.count == (block->capacity == kSmallBytes ? kSmallKeptMax : kLargeKeptMax)) return Free(block);
    block->next = list.head;
    list.head = block;
    ++list.count;
  }

  void ReleaseChain(Block* head) {
    while (head != nullptr) {
      Block* next = head->next;
      Release(head);
      head = next;
    }
  }

 private:
  struct FreeList {
    Block* head = nullptr;
    uint32_t count = 0;
  };

  static Block* Allocate(uint32_t capacity);
  static void Free(Block* block);

  FreeList small_;
  FreeList large_;
};

// Objects of one type, pooled in the same manner. T needs a member `T* next`.
template <class T>
class ObjectPool {
 public:
  ObjectPool() = default;
  ~ObjectPool() {
    while (head_ != nullptr) {
      T* next = head_->next;
      delete head_;
      head_ = next;
    }
  }
  ObjectPool(const ObjectPool&) = delete;
  ObjectPool& operator=(const ObjectPool&) = delete;

  // As its last user left it.
  T* Acquire() {
    if (head_ == nullptr) return new T();
    T* object = head_;
    head_ = object->next;
    --count_;
    return object;
  }
  void Release(T* object) {
    if (count_ == kKeptMax) {
      delete object;
      return;
    }
    object->next = head_;
    head_ = object;
    ++count_;
  }

 private:
  static constexpr uint32_t kKeptMax = 4096;

  T* head_ = nullptr;
  uint32_t count_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_BLOCK_POOL_H_
