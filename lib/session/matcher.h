// Which message goes to which receive: tag matching of one session, in the order of posting and of arrival.
//
// Receives that want one exact tag, and messages, are found through a hash of the tag; receives with a mask are kept
// apart in a list of their own. Where both kinds fit, the one that was posted first wins, as one list would have it.
//
// Thread rule: the session's home lane only. No allocation once the pools have seen their peak, except the bytes of an
// unexpected message of more than 128.
#ifndef MCP_LIB_SESSION_MATCHER_H_
#define MCP_LIB_SESSION_MATCHER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "lib/memory/region_impl.h"
#include "lib/session/chunk_delivery.h"
#include "lib/session/operation.h"
#include "mcp/completion.h"

namespace mcp::internal {

class SessionImpl;

struct PostedReceive {
  PostedReceive* next = nullptr;
  PostedReceive* previous = nullptr;
  uint64_t serial = 0;
  uint64_t tag = 0;
  uint64_t tag_mask = ~uint64_t{0};
  std::byte* local = nullptr;
  uint64_t length = 0;
  RegionImpl* region = nullptr;  // referenced
  OperationId id = 0;
  int64_t deadline_ns = 0;
  Completion completion;
  std::unique_ptr<ChunkDelivery> chunks;
  // Once it has ended, without a landing.
  SessionImpl* session = nullptr;
  absl::Status status;
  uint64_t bytes = 0;

  bool Accepts(uint64_t message_tag) const { return ((message_tag ^ tag) & tag_mask) == 0; }
};

// First in, first out. Of receives that are off the matcher's lists.
class PostedReceiveList {
 public:
  bool empty() const { return head_ == nullptr; }
  void PushBack(PostedReceive* receive) {
    receive->next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = receive;
    tail_ = receive;
  }
  PostedReceive* PopFront() { return std::exchange(head_, head_->next); }

 private:
  PostedReceive* head_ = nullptr;
  PostedReceive* tail_ = nullptr;
};

struct UnexpectedMessage {
  static constexpr size_t kHereBytes = 128;

  UnexpectedMessage() {}  // leaves the bytes as they are: only what is written is read
  const std::byte* payload() const { return bytes != nullptr ? bytes.get() : here; }

  UnexpectedMessage* next = nullptr;  // in its bucket
  UnexpectedMessage* previous = nullptr;
  UnexpectedMessage* next_arrived = nullptr;
  UnexpectedMessage* previous_arrived = nullptr;
  uint64_t tag = 0;
  uint64_t length = 0;
  bool request = false;                // its bytes are still with the sender
  uint64_t transfer = 0;               // of a request
  std::unique_ptr<std::byte[]> bytes;  // of what is longer than kHereBytes
  std::byte here[kHereBytes];
};

class Matcher {
 public:
  Matcher() = default;
  ~Matcher();
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  // A receive that finds no message waits; the caller fills in what NewReceive gives.
  PostedReceive* NewReceive() { return receive_pool_.Get(); }
  void Post(PostedReceive* receive);
  void Release(PostedReceive* receive);
  // The first posted receive that accepts the tag, taken off the list; null if there is none.
  PostedReceive* Match(uint64_t tag);

  // A message that found no receive waits.
  UnexpectedMessage* NewUnexpected() { return unexpected_pool_.Get(); }
  // Keeps a copy of the bytes.
  static void Hold(const std::byte* payload, uint64_t length, UnexpectedMessage* message);
  void Add(UnexpectedMessage* message);
  void Release(UnexpectedMessage* message);
  // The first message to have arrived that (tag, mask) accepts, taken off the list; null if there is none.
  UnexpectedMessage* Find(uint64_t tag, uint64_t tag_mask);
  // The request of that transfer, taken off the list; null if it has been matched.
  UnexpectedMessage* FindRequest(uint64_t transfer);

  // Takes one posted receive that satisfies the predicate; null when none does. Linear.
  template <class Predicate>
  PostedReceive* TakeReceive(Predicate predicate) {
    for (size_t i = 0; i <= kBuckets; ++i) {
      for (PostedReceive* receive = receives_[i].head; receive != nullptr; receive = receive->next) {
        if (!predicate(*receive)) continue;
        Unlink(receives_[i], receive);
        return receive;
      }
    }
    return nullptr;
  }

  template <class Predicate>
  bool AnyReceive(Predicate predicate) const {
    for (const Chain<PostedReceive>& chain : receives_) {
      for (const PostedReceive* receive = chain.head; receive != nullptr; receive = receive->next) {
        if (predicate(*receive)) return true;
      }
    }
    return false;
  }

  size_t posted() const { return posted_; }
  uint64_t unexpected_bytes() const { return unexpected_bytes_; }

 private:
  static constexpr size_t kBuckets = 64;
  template <class T>
  struct Chain {
    T* head = nullptr;
    T* tail = nullptr;
  };

  static size_t Bucket(uint64_t tag) { return (tag * 0x9e3779b97f4a7c15u) >> 58; }
  void Unlink(Chain<PostedReceive>& chain, PostedReceive* receive);
  void Unlink(UnexpectedMessage* message);

  // The last chain holds the receives with a mask.
  std::array<Chain<PostedReceive>, kBuckets + 1> receives_;
  std::array<Chain<UnexpectedMessage>, kBuckets> unexpected_;
  UnexpectedMessage* first_arrived_ = nullptr;
  UnexpectedMessage* last_arrived_ = nullptr;
  uint64_t next_serial_ = 0;
  size_t posted_ = 0;
  uint64_t unexpected_bytes_ = 0;
  Pool<PostedReceive> receive_pool_;
  Pool<UnexpectedMessage> unexpected_pool_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_MATCHER_H_
