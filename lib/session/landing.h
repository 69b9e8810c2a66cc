// Where an operation's bytes come in: the window that a receive or a get opens to its peer, once.
//
// A landing belongs to one rail (`home`), whose lane opens and completes it; tiles may arrive on any of the session's
// lanes. Whoever uses a landing found through the region table pins its slot first and checks that the key is still
// valid: the object is type-stable and serves again as soon as no pin is left.
#ifndef MCP_LIB_SESSION_LANDING_H_
#define MCP_LIB_SESSION_LANDING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "lib/memory/region_impl.h"
#include "lib/session/chunk_delivery.h"
#include "mcp/completion.h"

namespace mcp::internal {

class Rail;

struct Landing {
  Landing* next = nullptr;  // in the pool, or in its rail's list
  Landing* previous = nullptr;
  std::atomic<uint64_t> bytes_left{0};
  uint64_t key = 0;
  uint64_t length = 0;
  uint64_t tag = 0;
  bool from_send = false;  // the peer sends here of its own will, rather than answers a get
  Rail* home = nullptr;
  RegionImpl* region = nullptr;  // referenced
  OperationId id = 0;
  int64_t deadline_ns = 0;
  absl::Status outcome;  // what the completion will say
  bool closing = false;  // the key is taken back; completes once it has settled
  // The peer's device places bytes here by itself: the operation has ended early, and waits until the peer has said on
  // each rail (`abandons`) that nothing more comes.
  bool withdrawn = false;
  uint16_t abandons = 0;
  Completion completion;
  uint64_t window = 0;  // by which the peer's devices come in, where the landing has one of its own (PeerWindows)
  std::unique_ptr<ChunkDelivery> chunks;  // where the receiver wants parts as they come: home's lane only
};

// Doubly linked, since landings end in any order.
class LandingList {
 public:
  Landing* front() const { return head_; }
  bool empty() const { return head_ == nullptr; }

  void PushBack(Landing* landing) {
    landing->next = nullptr;
    landing->previous = tail_;
    (tail_ == nullptr ? head_ : tail_->next) = landing;
    tail_ = landing;
  }
  void Remove(Landing* landing) {
    (landing->previous == nullptr ? head_ : landing->previous->next) = landing->next;
    (landing->next == nullptr ? tail_ : landing->next->previous) = landing->previous;
  }

 private:
  Landing* head_ = nullptr;
  Landing* tail_ = nullptr;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_LANDING_H_
