// One lane's queues on one device: completion queues, the shared receive queue with its buffers, and the staging slots
// that headers and small payload leave from.
//
// Every connection brings a share of receive buffers, as many as its peer may fill before it hears of more credit, so
// that the shared queue never runs dry. Shares of connections that are gone serve the next ones.
//
// Thread rule: the lane. Budget of a received message: a look-up by buffer number, an entry of the next list of
// buffers to post; one doorbell for all buffers of a round.
#ifndef MCP_TRANSPORTS_VERBS_QUEUES_H_
#define MCP_TRANSPORTS_VERBS_QUEUES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "transports/verbs/network.h"

namespace mcp::internal {

// Header and payload of one message. Longer payload goes as a write.
inline constexpr uint32_t kVerbsEagerBytesMax = 4096;
inline constexpr uint32_t kVerbsMessageBytesMax = kVerbsEagerBytesMax + kHeaderBytesMax;

// Messages that a peer may send before it hears of credit, or fewer if it says so in its handshake; and what may come
// beside them: two credit messages (each stands for half the credit), a welcome, a goodbye.
inline constexpr uint32_t kCreditsPerConnection = 64;
inline constexpr uint32_t kReceiveShare = kCreditsPerConnection + 4;

// Work requests of one connection that the device has not completed.
inline constexpr uint32_t kSendQueueDepth = 128;
// Kept for credit and goodbyes.
inline constexpr uint32_t kSendQueueReserve = 4;
// Requests in a row without a completion, at most.
inline constexpr uint32_t kUnsignaledMax = 32;
// Kept from one-sided work, which credit does not bound, for messages.
inline constexpr uint32_t kOneSidedReserve = 32;

// Staging slots of one lane and device, at most.
inline constexpr uint32_t kStagingSlotsMax = 8192;

struct StagingSlot {
  std::byte* bytes = nullptr;
  uint32_t lkey = 0;
  uint32_t index = 0;
};

class LaneQueues {
 public:
  static absl::StatusOr<std::unique_ptr<LaneQueues>> Create(VerbsNetworkImpl& network, VerbsDevice& device);
  ~LaneQueues();
  LaneQueues(const LaneQueues&) = delete;
  LaneQueues& operator=(const LaneQueues&) = delete;

  VerbsDevice& device() { return device_; }
  ibv_comp_channel* channel() { return channel_; }
  ibv_cq* send_queue() { return send_; }
  ibv_cq* receive_queue() { return receive_; }
  ibv_srq* shared_receives() { return shared_; }
  uint32_t inline_bytes_max() const { return inline_bytes_max_; }

  // Room for one more connection. kResourceExhausted: the queues hold no more.
  absl::Status TakeShare();
  void ReturnShare() { --shares_used_; }

  const std::byte* Buffer(uint64_t number) const { return receives_[number / kReceiveShare].bytes + Offset(number); }
  // The buffer is to be posted again, by the next PostBuffers.
  void ReturnBuffer(uint64_t number) { returned_.push_back(number); }
  bool has_returned() const { return !returned_.empty(); }
  absl::Status PostBuffers();

  // False when there is none.
  bool TakeSlot(StagingSlot* slot);
  void ReturnSlot(uint32_t index) { free_slots_.push_back(index); }

  // Completions taken off a queue out of turn, to be handled before what is in it. Used around waits and endings.
  std::vector<ibv_wc>& set_aside_receives() { return receives_aside_; }
  std::vector<ibv_wc>& set_aside_sends() { return sends_aside_; }

  absl::StatusOr<ibv_qp*> CreateQueuePair(void* context);

  bool receives_seen = false;  // the last look at the receive queue left nothing in it

 private:
  struct Slab {
    std::unique_ptr<std::byte[], void (*)(std::byte*)> owned;
    std::byte* bytes = nullptr;
    ibv_mr* region = nullptr;
  };
  static constexpr uint32_t kSlotsPerSlab = 64;

  LaneQueues(VerbsNetworkImpl& network, VerbsDevice& device) : network_(network), device_(device) {}
  static size_t Offset(uint64_t number) { return number % kReceiveShare * size_t{kVerbsMessageBytesMax}; }
  absl::StatusOr<Slab> MakeSlab(uint32_t slots);

  VerbsNetworkImpl& network_;
  VerbsDevice& device_;
  ibv_comp_channel* channel_ = nullptr;
  ibv_cq* send_ = nullptr;
  ibv_cq* receive_ = nullptr;
  ibv_srq* shared_ = nullptr;
  uint32_t shares_max_ = 0;
  uint32_t shares_used_ = 0;
  uint32_t inline_bytes_max_ = 0;
  std::vector<Slab> receives_;
  std::vector<uint64_t> returned_;
  std::vector<ibv_recv_wr> works_;
  std::vector<ibv_sge> entries_;
  std::vector<Slab> slabs_;
  std::vector<uint32_t> free_slots_;
  std::vector<ibv_wc> receives_aside_;
  std::vector<ibv_wc> sends_aside_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_QUEUES_H_
