// A lane: one thread's share of an engine. It owns a Transport, the rails that live on it, and the pools that their
// operations come from; whoever drives it (a progress thread, or the caller of Engine::Progress) calls Round and Wait.
//
// A round, in this order: submissions from other threads, events of the transport, frames that became due, landings
// that settle, timers. Budget of a round without work: one Poll, one atomic exchange, and a look at the coarse clock
// where no timer is near.
//
// Thread rule: Submit, Run and Wake from any thread; everything else on the lane. Current() tells where one is.
#ifndef MCP_LIB_SESSION_LANE_H_
#define MCP_LIB_SESSION_LANE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mpsc_queue.h"
#include "lib/memory/region_table.h"
#include "lib/session/chunk_delivery.h"
#include "lib/session/hedge.h"
#include "lib/session/landing.h"
#include "lib/session/lane_context.h"
#include "lib/session/matcher.h"
#include "lib/session/operation.h"
#include "lib/session/stream.h"
#include "lib/transport/transport.h"

namespace mcp::internal {

class Rail;
class SessionImpl;

// Work that crosses to a lane by value: no allocation.
struct Submission {
  enum class Kind : uint8_t {
    kWrite,      // put: post to `rail`
    kGet,        // get by `rail`
    kSend,       // send, on the session's home lane
    kReceive,    // receive, on the session's home lane
    kPart,       // `transfer`'s tiles [local, local + length) by `rail`
    kHedgeCopy,  // a copy of `hedge_copy` by `rail`
    // To the home lane:
    kLandingDone,   // the last byte of `landing` came on another lane
    kLandingChunk,  // bytes [offset, offset + length) of `landing` did, and its receiver wants to know
    kPieceDone,     // the piece at `offset` of a streamed transfer has ended, on `rail`
    kTransferDone,  // the last part of `transfer` has
  };
  Kind kind = Kind::kWrite;
  Way way = Way::kFramed;  // kPart
  Rail* rail = nullptr;
  const std::byte* local = nullptr;
  uint64_t length = 0;
  uint64_t key = 0;
  uint64_t offset = 0;
  RemoteWindow window;
  uint64_t tag = 0;
  uint64_t tag_mask = 0;
  Transfer* transfer = nullptr;
  Landing* landing = nullptr;
  Hedge* hedge_copy = nullptr;
  bool hedge = false;  // kSend
  RegionImpl* region = nullptr;
  OperationId id = 0;
  int64_t deadline_ns = 0;
  Completion completion;
  std::unique_ptr<ChunkDelivery> chunks;  // of a receive
};

class Lane {
 public:
  struct Dependencies {
    uint32_t index = 0;
    std::unique_ptr<Transport> transport;
    RegionTable* regions = nullptr;
    Clock* clock = nullptr;
    Logger* logger = nullptr;
    const Policy* policy = nullptr;
    std::optional<Protocol> forced;    // the protocol that the user forces
    const Profile* profile = nullptr;  // null: none
    // Gets the peers that ask to be accepted.
    absl::AnyInvocable<void(std::unique_ptr<PendingConnection>)> on_incoming;
  };

  explicit Lane(Dependencies dependencies);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  static Lane* Current();
  // This thread alone drives the lane, from now on: what it starts between rounds needs no queue.
  void AdoptDriver() { driver_.store(ThisThread(), std::memory_order_relaxed); }
  // Takes the submission, or leaves it untouched and returns false when the queue is full.
  bool Submit(Submission&& submission);
  // Never refuses: lanes hand work to each other with it, spilling to Run when the queue is full.
  void SubmitAlways(Submission&& submission);
  // For the rare: allocates and locks.
  void Run(absl::AnyInvocable<void() &&> function);
  void Wake();

  // Binds the lane to the calling thread for its scope.
  class Binding {
   public:
    explicit Binding(Lane& lane);
    ~Binding();

   private:
    Lane* previous_;
  };

  // Returns the number of things done.
  size_t RoundOnLane();
  // Blocks until there may be something to do, at most until the deadline.
  void WaitOnLane(int64_t deadline_ns);

  uint32_t index() const { return index_; }
  uint32_t shard() const { return index_ + 1; }
  // The time of the round: read when it is first asked for.
  int64_t now_ns() {
    if (!std::exchange(now_known_, true)) now_ns_ = clock_->NowNs();
    return now_ns_;
  }
  Transport& transport() { return *transport_; }
  RegionTable& regions() { return *regions_; }
  Logger& logger() { return *logger_; }
  Clock& clock() { return *clock_; }
  bool InRound() const { return Current() == this; }  // or in a wait
  bool OnThisLane() const { return Current() == this || driver_.load(std::memory_order_relaxed) == ThisThread(); }

  Pool<Operation>& operations() { return operations_; }
  SharedPool<Transfer>& transfers() { return transfers_; }
  SharedPool<Hedge>& hedges() { return hedges_; }
  Pool<Landing>& landings() { return landings_; }
  Pool<Stream>& streams() { return streams_; }
  Pool<PackBuffer>& pack_buffers() { return pack_buffers_; }
  LaneContext& context() { return context_; }

  void AddRailOnLane(Rail* rail);
  void RemoveRailOnLane(Rail* rail);
  // The rail has something to send before the round ends.
  void MarkDirtyOnLane(Rail* rail);
  // The landing's key was taken back: completes it once nothing uses it.
  void SettleOnLane(Landing* landing);
  // Completes an operation that ended inside the call that started it: later in this round, off the caller's stack.
  struct Ended {
    Rail* rail = nullptr;
    Completion completion;
    absl::Status status;
    uint64_t bytes = 0;
    uint64_t tag = 0;
    OperationId id = 0;
  };
  void CompleteLaterOnLane(Ended ended) { ended_.push_back(std::move(ended)); }
  void CompleteLaterOnLane(PostedReceive* receive) { ended_receives_.PushBack(receive); }
  bool ReceivesToComplete() const { return !ended_receives_.empty(); }
  // The rail goes away: forget what was noted about it.
  void ForgetOnLane(const Rail* rail);
  void ForgetOnLane(const Landing* landing);
  // Look at the timers no later than this.
  void TickByOnLane(int64_t when_ns) {
    if (when_ns < next_tick_ns_) next_tick_ns_ = when_ns;
  }

  // Scratch for a rail's batch.
  static constexpr size_t kBatchMax = 64;
  std::array<WorkRequest, kBatchMax>& batch() { return batch_; }
  std::byte* batch_header(size_t i) { return batch_headers_.data() + i * kFrameHeaderBytesMax; }

 private:
  static constexpr uint32_t kSubmissionsMax = 4096;
  static constexpr size_t kEventsMax = 256;
  static constexpr int kSubmissionsPerRound = 256;

  static const void* ThisThread();  // a name for it, as long as it lives

  size_t DrainSubmissions();
  size_t DrainFunctions();
  size_t Dispatch(size_t count);
  void PostDirty();
  size_t FlushDirty(bool about_to_block);
  size_t SettleLandings();
  size_t CompleteEnded();
  bool TickIsDue();
  void Tick();

  const uint32_t index_;
  const std::unique_ptr<Transport> transport_;
  RegionTable* const regions_;
  Clock* const clock_;
  Logger* const logger_;
  absl::AnyInvocable<void(std::unique_ptr<PendingConnection>)> on_incoming_;

  std::atomic<const void*> driver_{nullptr};  // as seldom written as what is above it: other threads read it often
  alignas(64) int64_t now_ns_ = 0;
  bool now_known_ = true;  // in this round; otherwise now_ns_ has been
  int64_t next_tick_ns_ = 0;
  Pool<Operation> operations_;
  SharedPool<Transfer> transfers_;
  SharedPool<Hedge> hedges_;
  Pool<Landing> landings_;
  Pool<Stream> streams_;
  Pool<PackBuffer> pack_buffers_;
  LaneContext context_;
  std::vector<Rail*> rails_;
  std::vector<Rail*> dirty_;
  std::vector<Rail*> flushing_;
  std::vector<Landing*> settling_;
  std::vector<Ended> ended_;
  std::vector<Ended> completing_;
  PostedReceiveList ended_receives_;
  std::array<Event, kEventsMax> events_;
  std::array<WorkRequest, kBatchMax> batch_;
  std::array<std::byte, kBatchMax * kFrameHeaderBytesMax> batch_headers_;

  alignas(64) MpscQueue<Submission> submissions_{kSubmissionsMax};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> has_functions_{false};
  std::mutex functions_mutex_;
  std::vector<absl::AnyInvocable<void() &&>> functions_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_LANE_H_
