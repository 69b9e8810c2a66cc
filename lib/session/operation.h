// An accepted operation, from submission to completion, and the lists and pools that carry it.
//
// Thread rule: an Operation belongs to one lane at a time. Pools belong to a lane; a list to whoever holds it.
#ifndef MCP_LIB_SESSION_OPERATION_H_
#define MCP_LIB_SESSION_OPERATION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "lib/base/assert.h"
#include "lib/memory/region_impl.h"
#include "lib/memory/remote_window.h"
#include "lib/session/path_choice.h"
#include "lib/wire/frame.h"
#include "mcp/completion.h"

namespace mcp::internal {

struct Hedge;
struct PackBuffer;
struct Stream;
struct Transfer;

// One frame carries all of it, payload included.
constexpr bool IsSmall(FrameType type) { return type == FrameType::kPut || type == FrameType::kEager; }

// How an operation's payload travels.
enum class Way : uint8_t {
  kFramed,   // with a frame, which the peer acknowledges
  kPlaced,   // written by this side's device; the peer's CPU does not hear of it
  kFetched,  // read by this side's device, likewise
};

// One frame to be sent and acknowledged, or a run of tiles that is cut into frames as the window allows.
//
// Three cache lines. Between its posting and its end an operation leaves the nearest cache, and a small one is over
// when the first two lines have come back: what is looked at then is in these.
struct alignas(64) Operation {
  Operation* next = nullptr;
  FrameType type = FrameType::kPut;
  Way way = Way::kFramed;
  bool replay = false;          // sent before, to be sent again
  bool revoked = false;         // its target was taken back after it was posted
  bool payload_hashed = false;  // payload_checksum is known
  uint8_t resends = 0;
  const std::byte* payload = nullptr;
  uint64_t payload_bytes = 0;
  RegionImpl* region = nullptr;         // referenced; null where the payload is not a user's, or the transfer's
  OperationId id = 0;                   // 0: not one that the user made
  uint64_t words[kFrameWordsMax] = {};  // of a tile, too, from kFrameWindowWord on its target's window
  Completion completion;

  int64_t deadline_ns = 0;       // 0: none
  PackBuffer* pack = nullptr;    // of many small operations: their payload is in it
  Operation* packed = nullptr;   // the first of them; the others by `next`
  Transfer* transfer = nullptr;  // the larger operation that this is a part of
  Hedge* hedge = nullptr;        // the message that this is a copy of, whose bytes these are
  // What the payload's memory is to devices; null where it is no region of this side.
  const DeviceMemory::Grant* registered = nullptr;
  uint64_t payload_checksum = 0;
  uint32_t source_slot = kNoSlot;  // pinned in the region table: a Get that this side answers
  uint32_t sequence = 0;           // of the frame

  static constexpr uint32_t kNoSlot = ~uint32_t{0};

  // Where a tile goes, or comes from.
  void SetTarget(uint64_t key, uint64_t offset, const RemoteWindow& window) {
    words[0] = key;
    words[1] = offset;
    window.Store(words + kFrameWindowWord);
  }

  // For another life. The completion was moved out when the last one ended.
  void Reset(FrameType new_type) {
    type = new_type;
    way = Way::kFramed;
    replay = revoked = payload_hashed = false;
    resends = 0;
    for (uint64_t& word : words) word = 0;
    payload = nullptr;
    payload_bytes = 0;
    pack = nullptr;
    packed = nullptr;
    transfer = nullptr;
    hedge = nullptr;
    region = nullptr;
    registered = nullptr;
    source_slot = kNoSlot;
    id = 0;
    deadline_ns = 0;
  }

  // It will be looked at soon.
  static void Prefetch(const Operation* operation) { __builtin_prefetch(operation); }
  // It will end soon.
  static void PrefetchEnd(const Operation* operation) {
    __builtin_prefetch(operation);
    __builtin_prefetch(reinterpret_cast<const std::byte*>(operation) + 64);
  }
};
static_assert(sizeof(Operation) == 192 && offsetof(Operation, completion) + sizeof(Completion) == 128);

template <class T>
class SharedPool;

// The payload of a frame of many small operations, copied together, so that it is one piece and stays what was hashed.
struct PackBuffer {
  static constexpr size_t kBytes = 8192;

  PackBuffer() {}  // leaves the bytes as they are: only what is written is read

  PackBuffer* next = nullptr;
  std::byte bytes[kBytes];
};

// An operation of several tiles, on one or more rails. The lane that takes the last part completes it.
struct Transfer {
  Transfer* next = nullptr;              // in the pool
  SharedPool<Transfer>* pool = nullptr;  // that it came from
  std::atomic<uint64_t> bytes_left{0};
  std::atomic<int> failed{0};  // an absl::StatusCode
  uint64_t length = 0;
  RegionImpl* region = nullptr;
  const DeviceMemory::Grant* registered = nullptr;
  uint32_t source_slot = Operation::kNoSlot;
  OperationId id = 0;
  Completion completion;
  uint64_t key = 0;           // where it goes at the peer
  TransferChoice choice;      // of a message; it ends on the session's home lane
  uint64_t rail_changes = 0;  // that the session had had when the choice was made
  Stream* stream = nullptr;   // where it is streamed: home lane only, but for the comparison with null

  // The first failure wins.
  void Fail(absl::StatusCode code) {
    int none = 0;
    failed.compare_exchange_strong(none, static_cast<int>(code), std::memory_order_acq_rel);
  }
};

// First in, first out, intrusive.
class OperationList {
 public:
  bool empty() const { return head_ == nullptr; }
  uint32_t size() const { return size_; }
  Operation* front() const { return head_; }

  void PushBack(Operation* operation) {
    operation->next = nullptr;
    if (tail_ == nullptr) {
      head_ = operation;
    } else {
      tail_->next = operation;
    }
    tail_ = operation;
    ++size_;
  }
  void PushFront(Operation* operation) {
    operation->next = head_;
    head_ = operation;
    if (tail_ == nullptr) tail_ = operation;
    ++size_;
  }
  // All of the other list, which is empty then, in front of what is here.
  void Prepend(OperationList* other) {
    if (other->empty()) return;
    other->tail_->next = head_;
    if (tail_ == nullptr) tail_ = other->tail_;
    head_ = other->head_;
    size_ += other->size_;
    *other = OperationList();
  }
  // The first `count` of the other list, which `last` is the last of, behind what is here.
  void TakeFront(OperationList* other, Operation* last, uint32_t count) {
    if (tail_ == nullptr) {
      head_ = other->head_;
    } else {
      tail_->next = other->head_;
    }
    tail_ = last;
    other->head_ = std::exchange(last->next, nullptr);
    if (other->head_ == nullptr) other->tail_ = nullptr;
    size_ += count;
    other->size_ -= count;
  }
  Operation* PopFront() {
    Operation* operation = head_;
    head_ = operation->next;
    if (head_ == nullptr) tail_ = nullptr;
    --size_;
    return operation;
  }
  template <class Predicate>
  bool Any(Predicate predicate) const {
    for (const Operation* operation = head_; operation != nullptr; operation = operation->next) {
      if (predicate(*operation)) return true;
    }
    return false;
  }
  // Linear. Null if no operation satisfies the predicate.
  template <class Predicate>
  Operation* Remove(Predicate predicate) {
    Operation* before = nullptr;
    for (Operation* operation = head_; operation != nullptr; before = operation, operation = operation->next) {
      if (!predicate(*operation)) continue;
      (before == nullptr ? head_ : before->next) = operation->next;
      if (tail_ == operation) tail_ = before;
      --size_;
      return operation;
    }
    return nullptr;
  }

 private:
  Operation* head_ = nullptr;
  Operation* tail_ = nullptr;
  uint32_t size_ = 0;
};

// Free list that grows by slabs and never shrinks: no allocation once it has seen its peak. What goes back to another
// lane's pool than it came from moves there for good, so that is for what comes back as often; slabs live as long as
// the pools' common owner.
template <class T>
class Pool {
 public:
  T* Get() {
    if (free_ == nullptr) Grow();
    T* item = free_;
    free_ = item->next;
    return item;
  }
  void Return(T* item) {
    item->next = free_;
    free_ = item;
  }

 private:
  static constexpr size_t kSlab = 64;

  void Grow() {
    slabs_.push_back(std::make_unique<T[]>(kSlab));
    for (size_t i = 0; i < kSlab; ++i) {
      slabs_.back()[i].next = free_;
      free_ = &slabs_.back()[i];
    }
  }

  T* free_ = nullptr;
  std::vector<std::unique_ptr<T[]>> slabs_;
};

// The same for objects that other lanes return: they find their way home. Get on the owner's lane, Return on any.
template <class T>
class SharedPool {
 public:
  T* Get() {
    if (returned_.load(std::memory_order_relaxed) != nullptr) TakeReturned();
    return pool_.Get();
  }
  void Return(T* item) {
    item->next = returned_.load(std::memory_order_relaxed);
    while (!returned_.compare_exchange_weak(item->next, item, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

 private:
  // All at once: nothing is popped that could have come and gone meanwhile.
  void TakeReturned() {
    for (T* item = returned_.exchange(nullptr, std::memory_order_acquire); item != nullptr;) {
      T* const next = item->next;
      pool_.Return(item);
      item = next;
    }
  }

  Pool<T> pool_;
  alignas(64) std::atomic<T*> returned_{nullptr};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_OPERATION_H_
