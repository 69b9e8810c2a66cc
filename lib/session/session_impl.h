// What stands behind mcp::Session: rails, matching, credits, and the end of all of it.
//
// Where state lives: a rail and what was posted on it belong to the rail's lane; matching, credits and sends that wait
// for their grant belong to the home lane (rail 0's); what every thread reads is atomic or set before the session
// opens. Operations started on one of the session's lanes stay there; others cross by the lane's queue.
//
// The end, in four steps, so that no memory is touched after its completion: every rail closes its connection; when
// all are down, each rail's lane ends what was posted there; then the home lane ends what waited to be matched; and
// when every completion has returned, it runs the end handler and lets go of the session.
#ifndef MCP_LIB_SESSION_SESSION_IMPL_H_
#define MCP_LIB_SESSION_SESSION_IMPL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/session/eager_limit.h"
#include "lib/session/grant_table.h"
#include "lib/session/hedge.h"
#include "lib/session/lane.h"
#include "lib/session/matcher.h"
#include "lib/session/near_rails.h"
#include "lib/session/path_choice.h"
#include "lib/session/rail.h"
#include "lib/wire/hello.h"
#include "mcp/session.h"

namespace mcp::internal {

// What a session holds of its peer's messages that no receive has matched yet, at most; each costs a little more than
// its bytes.
inline constexpr uint64_t kEagerCreditBytes = uint64_t{4} << 20;
// What a message costs of it.
uint64_t MessageCost(FrameType type, uint64_t length);
// From here on a transfer is spread over the rails.
inline constexpr uint64_t kStripeBytesMin = uint64_t{4} << 20;
// A rail that has nothing else to do shares a transfer from here on, since then its latency counts.
inline constexpr uint64_t kStripeIdleBytesMin = uint64_t{512} << 10;

// What a session needs of its engine.
class SessionHost {
 public:
  virtual ~SessionHost() = default;
  virtual Lane& lane(uint32_t index) = 0;
  virtual uint32_t lane_count() const = 0;
  virtual uint64_t engine_id() const = 0;
  virtual Logger& logger() = 0;
  virtual std::vector<Fallback> Fallbacks() const = 0;
  // The session has ended and nothing refers to it any more but handles.
  virtual void Reclaim(SessionImpl* session) = 0;
};

class SessionImpl : public std::enable_shared_from_this<SessionImpl> {
 public:
  using OpenCallback = absl::AnyInvocable<void(absl::StatusOr<std::shared_ptr<SessionImpl>>) &&>;
  using EndHandler = absl::AnyInvocable<void(absl::Status) &&>;

  // `rails` is the number this side wants or allows; `token` names the session (0 until the acceptor has named it).
  SessionImpl(SessionHost& host, const SessionOptions& options, uint32_t home_lane, uint16_t rails, uint64_t token,
              std::string peer);

  // Lifecycle, any thread.
  void Connect(std::string address, OpenCallback opened);
  // The acceptor's: settles what both sides want from the peer's hello, and takes the peer in on the home lane.
  void Negotiate(const Hello& hello);
  void Accept(std::unique_ptr<PendingConnection> pending, OpenCallback accepted);
  // The same for a rail after the first, or one whose connection was lost; hello.rail is one of this session's.
  void AcceptRail(const Hello& hello, std::unique_ptr<PendingConnection> pending);
  Hello MakeHello(const Rail& rail) const;
  void Close(Completion completion);
  // Ends the session with an error; the first one counts.
  void Fail(const absl::Status& status);
  void FailViolation(const Rail& rail, absl::string_view what);
  absl::Status Error(absl::StatusCode code, const Rail& rail, absl::string_view what) const;

  // Operations, any thread. Slices and remote ranges have been checked.
  struct Local {
    RegionImpl* region = nullptr;
    std::byte* data = nullptr;
    uint64_t length = 0;
  };
  struct Remote {
    uint64_t key = 0;
    uint64_t offset = 0;
    RemoteWindow window;
  };
  // Admission fills in the rest; from then on, its region is referenced once it is on its lane, or on the way there.
  struct Work {
    Local local;
    Remote remote;  // of puts and gets
    OperationId id = 0;
    int64_t deadline_ns = 0;
  };
  absl::StatusOr<OperationId> Put(Work& work, Completion&& completion, const OperationOptions& options);
  absl::StatusOr<OperationId> Get(Work& work, Completion&& completion, const OperationOptions& options);
  absl::StatusOr<OperationId> Send(uint64_t tag, Work& work, Completion&& completion, const OperationOptions& options);
  absl::StatusOr<OperationId> Receive(uint64_t tag, Work& work, Completion&& completion, ReceiveOptions&& options);
  absl::Status Cancel(OperationId id);

  absl::Status status() const;
  void OnEnd(EndHandler handler);
  SessionDescription Describe() const;
  SessionStatistics Statistics() const;

  bool opening() const { return phase_.load(std::memory_order_acquire) == Phase::kOpening; }
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  bool checksum() const { return checksum_; }
  // Payload of a frame of many small operations; 0 where the peer takes none.
  uint64_t pack_bytes_max() const { return pack_bytes_max_; }
  uint16_t rail_count() const { return rail_count_; }
  Rail& rail(uint16_t index) { return *rails_[index]; }
  uint64_t token() const { return token_; }
  uint64_t peer_engine_id() const { return peer_engine_id_; }
  const std::string& peer() const { return peer_; }
  uint32_t outstanding_max_per_rail() const { return outstanding_max_per_rail_; }
  int64_t peer_timeout_ns() const { return peer_timeout_ns_; }
  int64_t recovery_timeout_ns() const { return recovery_timeout_ns_; }
  int64_t connect_timeout_ns() const { return connect_timeout_ns_; }
  int64_t connect_deadline_ns() const { return connect_deadline_ns_; }  // the connecting side's
  // This side connects the rails, to there; the other one waits.
  bool connects() const { return !address_.empty(); }
  const std::string& address() const { return address_; }

  // For lanes.
  static void Take(Lane& lane, Submission& submission);

  // Any thread: a rail that was never connected has work.
  void ConnectWanted(Rail& rail);

  // For rails; on the rail's lane.
  void OnFirstConnected(absl::Span<const std::byte> reply);
  // A rail after the first is connected for the first time; or it cannot be, at first or, if `in_vain`, for good.
  void OnRailAdded(const Rail& rail);
  void OnRailMissing(const Rail& rail, const absl::Status& why, bool in_vain);
  void OnRailDown(Rail& rail, const absl::Status& status);
  // Whether a rail that was lost for that reason is to be connected again.
  bool MayRecover(const absl::Status& why) const;
  // A path or a device that failed may be replaced. Anything else (the peer left, broke the protocol, was denied
  // access) would be the same on another connection.
  static bool OfThePath(absl::StatusCode code);
  void CountRail(uint16_t rail, bool up);
  // Counts a rail down; false, and nothing changed, if no other would be left.
  bool CountDownUnlessLast();
  // No rail is up, and this was the last one to be.
  bool LostAllWith(uint16_t rail) const;
  void OnRailLost(const Rail& rail, const absl::Status& why);
  void OnRailBack(const Rail& rail, int64_t away_ns);
  // The context layer's to know, on the home lane.
  void TellChoiceOfRail(uint16_t rail);
  void OnPeerLeaves() { peer_left_.store(true, std::memory_order_release); }
  bool OnPut(Rail& rail, const Frame& frame, const std::byte* payload);
  bool OnHedged(Rail& rail, const Frame& frame, const std::byte* payload);
  bool OnPuts(Rail& rail, const Frame& frame, const std::byte* payload);
  // The frame's memory was taken back. To be expected of a landing; a peer that uses an exported region after that
  // loses its session, since its put must not complete as if it had arrived. False: it has.
  bool OnStale(Rail& rail, const Frame& frame);
  // The landing's slot is pinned; this unpins it.
  bool OnLanded(Rail& rail, Landing* landing, uint32_t slot, uint64_t key, uint64_t offset, uint64_t bytes);
  // Frames whose order counts.
  void OnOrdered(Rail& rail, const Frame& frame, const std::byte* payload);
  void OnCredit(Rail& rail, uint64_t credit);
  uint64_t CreditToReport(uint16_t rail);
  int64_t OnHomeTick();
  void FinishOperation(Rail& rail, Operation* operation, const absl::Status& status);
  // The same for what a device or a frame of its own has done.
  void FinishOneSided(Rail& rail, Operation* operation);
  void FinishSmall(Rail& rail, Operation* operation);
  void FinishLanding(Rail& rail, Landing* landing);
  // Runs a completion, after giving back the operation's place so that it can start another.
  void Complete(Lane::Ended& ended);
  void CompleteReceive(PostedReceive* receive);
  // Closes a landing whose peer may still be sending, and tells it.
  void WithdrawLanding(Rail& rail, Landing* landing, const absl::Status& status);

 private:
  enum class Phase : uint8_t { kOpening, kOpen, kClosing };

  // Acceptance.
  bool admits() const { return phase_.load(std::memory_order_acquire) == Phase::kOpen && !ended(); }
  absl::Status WhyNotAdmitted() const;
  static absl::Status TooMuchInFlight();
  // For work of so many bytes, from or to that region. `own`: it lives on the lane that this thread drives.
  Rail* OwnRail(const RegionImpl& region, uint64_t length);
  Rail* ChooseRail(Work* work, bool* own);
  Rail* ChooseOtherRail(Work* work, bool* own);
  bool TakeHomePlace(bool own, OperationId* id);
  void GivePlaceBack(OperationId id);
  void CloseIfClosing() {
    if (ABSL_PREDICT_FALSE(phase_.load(std::memory_order_relaxed) == Phase::kClosing)) CloseSoonIfDrained();
  }
  void CloseSoonIfDrained();
  int64_t DeadlineOf(std::chrono::milliseconds timeout) const;
  absl::StatusOr<OperationId> OneSided(Submission::Kind kind, Work& work, Completion&& completion,
                                       const OperationOptions& options);
  uint32_t ShardHere() const;
  static Submission MakeSubmission(Submission::Kind kind, Rail& rail, const Work& work, Completion&& completion);
  absl::StatusOr<OperationId> Submit(Submission& submission);
  absl::StatusOr<OperationId> SubmitOneSided(Submission::Kind kind, Rail& rail, const Work& work,
                                             Completion&& completion);
  static Operation* NewOperation(Rail& rail, FrameType type, const Work& work, Completion&& completion) {
    Operation* operation = rail.NewFrame(type);
    operation->payload = work.local.data;
    operation->payload_bytes = work.local.length;
    operation->region = work.local.region;
    operation->registered = work.local.region->registration();
    operation->id = work.id;
    operation->deadline_ns = work.deadline_ns;
    // The one that is there has been moved out: nothing of it needs to be destroyed.
    MCP_ASSERT(operation->completion == nullptr);
    std::construct_at(&operation->completion, std::move(completion));
    return operation;
  }
  // What lanes tell each other: it reaches a session that has ended, too.
  static bool TakeNotice(Submission& submission);
  uint32_t NextRailIndex();
  Rail& NextCarrier(const RegionImpl& region, uint64_t length);

  // Nearness (session_nearness.cc).
  // Rails whose devices are nearest to that memory; none where that makes no difference.
  RailMask NearTo(const RegionImpl& region) const { return near_rails_[region.node()].load(std::memory_order_relaxed); }
  Rail* LeastLoaded(RailMask near, uint64_t length, uint32_t first, uint32_t step);
  void FindNearRails();
  std::string NearnessNote(uint16_t rail) const;

  // One-sided work, on the rail's lane.
  void StartPut(Rail& rail, const Work& work, Completion&& completion);
  void StartGet(Rail& rail, const Work& work, Completion&& completion);
  // Nothing to send is left to frames: a device would not even look at the window.
  bool LeftToDevices(uint64_t length) const { return one_sided_ && length > 0; }
  void StartOneSided(Submission::Kind kind, Rail& rail, const Work& work, Completion&& completion);
  void TakeOneSided(Submission::Kind kind, Rail& rail, const Work& work, Completion&& completion);
  void OnGet(Rail& rail, const Frame& frame);
  // Sends the operation's payload to (key, offset) at the peer, over one rail or striped over all.
  void StartWrite(Rail& rail, Operation* operation);
  // Whether so long a transfer goes by all rails.
  bool Spreads(const Rail& rail, uint64_t length) const;
  // Whatever else is under way: the common case.
  bool IsOneTile(uint64_t length) const {
    return length <= kTileBytesMax && (rail_count_ == 1 || length < kStripeIdleBytesMin);
  }
  struct Part {
    Transfer* transfer = nullptr;
    const std::byte* local = nullptr;
    uint64_t length = 0;
    Remote remote;
    int64_t deadline_ns = 0;
    Way way = Way::kFramed;
  };
  // Turns the operation into a transfer, which its parts complete: all of it as one part.
  Part MakeTransfer(Lane& lane, Operation* operation);
  // In fixed shares, the first by `first`.
  void Spread(Rail& first, Part part);
  void SubmitPart(Rail& carrier, const Part& part);
  void EnqueuePart(Rail& rail, const Part& part);
  // Bytes [offset, offset + bytes) at the peer.
  void FinishPart(Rail& rail, Transfer* transfer, uint64_t offset, uint64_t bytes, const absl::Status& status);
  void FinishHere(Rail& rail, PlaceCounter& places, Operation* operation);
  void FinishTransfer(Rail& rail, Transfer* transfer);
  bool TakeLanded(Rail& rail, Landing* landing, uint64_t offset, uint64_t bytes);

  // Messages, on the home lane.
  void StartSend(uint64_t tag, const Work& work, bool hedge, Completion&& completion);
  void StartReceive(uint64_t tag, uint64_t tag_mask, const Work& work, std::unique_ptr<ChunkDelivery> chunks,
                    Completion&& completion);
  EagerLimit::Room RoomForLongOne(uint64_t length) const;
  // Each message passes here once, before its completion runs.
  void CountEnded(Lane& lane, FrameType type, OperationId id, uint64_t bytes);
  // And each that was announced, when it waits for its receive no longer.
  void CountGranted(const Operation& operation) {
    if (eager_limit_.Decides(operation.payload_bytes)) eager_limit_.Granted(operation.payload_bytes);
  }
  bool HoldUnexpected(uint64_t cost);
  bool CreditAllows(const Operation& operation) const;
  void SpendCredit(Operation* operation);
  void ReturnCredit(uint64_t cost);
  void OnEager(const Frame& frame, const std::byte* payload);
  // A whole small message: to its receive, or held until there is one.
  void DeliverEager(uint64_t tag, const std::byte* payload, uint64_t bytes);
  void OnMessages(const Frame& frame, const std::byte* payload);
  void OnRequest(const Frame& frame);
  void OnGrant(const Frame& frame);
  void OnRevoke(const Frame& frame);
  void OnWithdraw(const Frame& frame);
  void OnAbandon(Rail& rail, const Frame& frame);
  // A message that had been granted is not sent to its end, and nothing of it is on its way any more: tells the peer.
  void GiveUp(OperationId id, uint64_t key);
  void Revoke(Rail& rail, uint64_t key);
  // The sender will not fill the landing that it was granted.
  static void Abandon(Rail& rail, uint64_t key);
  void Grant(PostedReceive* receive, uint64_t tag, uint64_t length, uint64_t transfer);
  void FinishReceive(PostedReceive* receive, absl::Status status, uint64_t bytes, uint64_t tag);
  void FinishDelivered(PostedReceive* receive, uint64_t bytes, uint64_t tag);
  void OnPeerClose();
  void OnConnect(const Frame& frame);
  bool CancelOnHome(OperationId id, const absl::Status& status);
  void ExpireOnHome();
  void WithdrawSend(uint64_t transfer, const absl::Status& status);

  // Messages by two rails at once.
  bool Hedges(uint64_t bytes) const;
  void LaunchHedge(Operation* operation);
  Rail* SecondForHedge();
  void EnqueueCopy(Rail& rail, Hedge* hedge);
  void FinishCopy(Rail& rail, Hedge* hedge, const absl::Status& status);

  // Messages that were matched, on the home lane.
  void StartMatched(Operation* operation);
  void StartStream(const Part& whole);
  RailMask RailsForStreams();
  void PumpStream(Stream* stream);
  void OnPieceDone(Rail& rail, Transfer* transfer, uint64_t offset, uint64_t bytes);
  void StopStream(Stream* stream, absl::StatusCode code);
  // The chunks that are on its rails are these' to cancel.
  void StopStreamOf(OperationId id);
  void FinishStream(Stream* stream);
  void TellChoiceOfEnd(const Transfer& transfer, int failed);
  uint64_t PathRetransmits() const;

  // Opening and the end.
  void AwaitUseOfRails();
  void DescribeRail(const Rail& rail);
  void Open();
  bool OffersOneSided() const;
  void CloseIfDrained();
  void OnCloseAcknowledged();
  void RunCloser(Completion completion);
  void EndRail(Rail& rail);
  void EndHome();
  void FinishWhenUnused();
  void Finish();
  uint64_t Activity() const;
  uint64_t Outstanding() const;
  Rail& home() { return *rails_[0]; }

  SessionHost& host_;
  const SessionOptions options_;
  Lane& home_lane_;
  std::string peer_;
  uint64_t token_;
  const uint32_t lane_count_;
  uint16_t rail_count_;
  bool checksum_;
  bool one_sided_ = false;  // puts and gets are left to the devices
  bool peer_hedges_ = false;
  uint64_t pack_bytes_max_ = 0;
  int64_t peer_timeout_ns_;
  int64_t recovery_timeout_ns_;
  int64_t connect_timeout_ns_;
  uint64_t peer_engine_id_ = 0;
  uint32_t outstanding_max_per_rail_;
  uint64_t eager_bytes_max_;
  uint64_t peer_credit_bytes_ = 0;  // what the peer holds for us unmatched, at most
  uint32_t peer_outstanding_max_ = 0;
  std::string address_;  // the connecting side's
  int64_t connect_deadline_ns_ = 0;
  std::vector<std::unique_ptr<Rail>> rails_;

  std::atomic<Phase> phase_{Phase::kOpening};
  std::atomic<bool> ended_{false};
  std::atomic<bool> peer_closed_{false};
  std::atomic<bool> peer_left_{false};     // its session has ended: what closes now stays closed
  std::atomic<uint32_t> rails_up_{0};      // in the lower half; above it, once none is, which one was the last
  std::atomic<uint64_t> rail_changes_{0};  // that were lost, or connected for the first time
  std::atomic<uint32_t> rails_made_{0};    // that were ever connected
  std::atomic<uint32_t> rails_down_{0};
  std::atomic<uint32_t> rails_finished_{0};
  std::atomic<uint32_t> next_rail_{0};
  std::array<std::atomic<uint8_t>, kMemoryNodes> near_rails_{};  // by memory's node: NearTo
  static_assert(kRailsMax <= 8);
  PlaceCounter home_places_;
  std::atomic<uint32_t> answering_{0};  // gets of the peer that this side is answering
  HedgeWindow hedges_sent_;             // of which a copy is under way
  HedgeWindow hedges_taken_;            // of which one copy has come
  std::atomic<uint32_t> hedges_under_way_{0};
  std::atomic<uint64_t> hedges_crossing_bytes_{0};
  std::atomic<uint64_t> hedged_messages_{0};
  std::atomic<uint64_t> hedges_won_{0};

  mutable std::mutex mutex_;  // the members below: set rarely
  absl::Status end_status_;
  EndHandler end_handler_;
  bool finished_ = false;
  OpenCallback opened_;
  std::vector<Completion> closers_;
  std::vector<RailDescription> descriptions_;
  std::vector<NodeDistances> distances_;  // by rail

  // Home lane.
  Matcher matcher_;
  OperationList waiting_for_credit_;
  GrantTable granting_;
  PathChoice choice_;
  EagerLimit eager_limit_;
  std::vector<Stream*> streams_;
  Dealer dealer_;
  uint64_t credit_spent_ = 0;     // cost of the messages sent
  uint64_t credit_returned_ = 0;  // what the peer says it has matched of that
  uint64_t next_hedge_ = 0;
  uint64_t matched_ = 0;  // cost of the peer's messages that were matched here
  uint64_t matched_reported_ = 0;
  uint64_t unexpected_cost_ = 0;  // of the peer's messages that wait for a receive
  bool close_sent_ = false;
  bool closed_cleanly_ = false;
  uint64_t last_activity_ = 0;
  bool home_deadlines_ = false;
  int64_t idle_since_ns_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_SESSION_IMPL_H_
