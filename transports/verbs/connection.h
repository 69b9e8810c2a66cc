// One connection: a connection manager's id, a reliable queue pair, and what is posted on it.
#ifndef MCP_TRANSPORTS_VERBS_CONNECTION_H_
#define MCP_TRANSPORTS_VERBS_CONNECTION_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/assert.h"
#include "lib/memory/registration_cache.h"
#include "lib/transport/transport.h"
#include "transports/verbs/network.h"
#include "transports/verbs/queues.h"

namespace mcp::internal {

inline constexpr uint32_t kNoStagingSlot = ~uint32_t{0};

// What a posted work request holds until the device is done with it.
struct PostedWork {
  uint32_t staging = kNoStagingSlot;
  bool reports = false;     // gives kSent
  bool one_sided = false;   // the last piece of kPlace or kFetch work: gives kDone, with what came before it
  bool transient = false;   // the registration is for this use alone
  Registration registered;  // of the payload
  RegionsHold held;         // of a region's payload, which may be sent again when the peer's rail has it already
  uint64_t work_id = 0;
  uint64_t window = 0;  // closes that one
  bool binds = false;   // no, opens it
};

// The accounting of one send queue. Requests complete in order, and the completion of one says that all before it are
// done; most ask for none. Room is only given back by completions that were seen, so the queue cannot overflow.
class SendLedger {
 public:
  uint32_t room() const { return kSendQueueDepth - (posted_ - completed_); }
  bool idle() const { return posted_ == completed_; }
  uint32_t posted() const { return posted_; }

  // The record of the next request.
  PostedWork& Add() {
    MCP_ASSERT(room() > 0);
    return works_[posted_++ % kSendQueueDepth];
  }
  // The last `count` were not taken by the device.
  void TakeBack(uint32_t count) { posted_ -= count; }
  PostedWork& At(uint32_t number) { return works_[number % kSendQueueDepth]; }
  // Calls `done` for each request up to the numbered one that was not done yet.
  template <class Done>
  void CompleteThrough(uint32_t number, Done done) {
    if (static_cast<int32_t>(number - completed_) < 0 || static_cast<int32_t>(number - posted_) >= 0) return;
    while (completed_ != number + 1) done(works_[completed_++ % kSendQueueDepth]);
  }

 private:
  std::array<PostedWork, kSendQueueDepth> works_;
  uint32_t posted_ = 0;
  uint32_t completed_ = 0;
};

struct VerbsConnection {
  enum class State : uint8_t {
    kFree,
    kResolving,  // connecting side: address and route
    kAsking,     // connecting side: a request is on its way
    kWelcoming,  // connecting side: connected, the peer's reply has not come
    kAccepting,  // accepting side: the peer has not confirmed
    kOpen,       // work may be posted
    kLeaving,    // the goodbye is on its way
    kDraining,   // the queue pair has failed: what was posted comes back
    kClosed,     // kClosed is owed
  };

  ConnectionId id = 0;
  uint16_t generation = 0;  // of this entry of the table
  State state = State::kFree;
  void* context = nullptr;
  rdma_cm_id* cm_id = nullptr;
  VerbsDevice* device = nullptr;
  LaneQueues* queues = nullptr;  // a share of them is taken
  ibv_qp* qp = nullptr;
  QueuePairReport report;
  bool receives = false;         // the queue pair takes buffers of the shared receive queue
  bool awaits_receives = false;  // it has failed, and gives them back
  // The peer hung up: closes once what it sent before is delivered.
  enum class HungUp : uint8_t { kNo, kHeard, kLooked };
  HungUp hung_up = HungUp::kNo;
  bool in_closing = false;  // in the transport's list

  // The handshake.
  uint64_t nonce = 0;
  bool first_rail = false;       // connecting side: what it finds orders the paths of those that follow
  std::vector<std::byte> hello;  // ours to the peer: the connecting side's in pieces, the accepting side's as welcome
  uint16_t hello_offset = 0;
  VerbsAddress peer;                     // connecting side: the address that was asked for
  std::vector<VerbsPath> paths;          // connecting side: to be tried in this order
  size_t path = 0;                       // the one that is being tried, or was taken
  std::vector<std::string> passed_over;  // the paths before it, and why
  int64_t deadline_ns = 0;               // of connecting, of the goodbye, of draining
  int64_t ask_again_ns = 0;  // connecting side, a piece that is not the last: when to ask anew. 0: not at all
  uint32_t asked = 0;        // how often for this piece
  ibv_mtu path_mtu = IBV_MTU_1024;
  int gid_index = -1;  // that its packets leave from; -1: not known yet, or from none
  uint8_t remote_device = 0;
  std::string local_address;
  std::string remote_address;

  // Sending.
  SendLedger sends;
  uint32_t credits = kCreditsPerConnection;  // that either end begins with: the smaller of their two numbers
  uint32_t credit = 0;                       // messages that the peer has room for
  uint32_t unsignaled = 0;                   // requests since the last that asks for a completion
  uint32_t unsignaled_staged = 0;
  bool holds_unseen = false;  // one of them holds a region
  uint32_t inline_bytes_max = 0;
  uint64_t plain_bytes_max = 0;  // one-sided work that is one request

  // Receiving.
  uint32_t owed = 0;         // credit to be given back to the peer
  bool owes_listed = false;  // in the transport's list of those that owe

  absl::Status reason;

  // When there is something to do, even if nothing comes.
  int64_t due_ns() const { return ask_again_ns != 0 ? std::min(ask_again_ns, deadline_ns) : deadline_ns; }
  bool connecting() const { return state >= State::kResolving && state <= State::kAccepting; }
};

// Send completions carry who and which: the number of the request, the connection, its generation.
inline uint64_t SendWorkId(const VerbsConnection& connection, uint32_t number) {
  return uint64_t{connection.generation} << 48 | uint64_t{connection.id & 0xffff} << 32 | number;
}

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_CONNECTION_H_
