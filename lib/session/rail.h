// A rail: one transport connection of a session, with the link layer that makes it reliable.
//
// Sequenced frames are numbered, acknowledged cumulatively, and kept until acknowledged. A frame that never came (its
// successor did, or a probe found it missing) costs the connection, and comes with the next; a put or tile whose
// payload arrived damaged is sent again alone, and the acknowledgement does not pass it until it is whole. Transports
// do neither under normal conditions, so all of this costs a comparison a frame; transports/fault makes it work for its
// living.
//
// A rail outlives its connection: that state stays when a connection is lost, the connecting side makes another one of
// the next generation, both say in its handshake what they have taken, and what is missing is posted again. No frame is
// lost or taken twice by that, and since a new connection is made only when each end's old one has closed, nothing that
// was posted on the old one can land any more (rail_recovery.cc).
//
// Budget of a small put: the header is written once into the lane's scratch and copied by Post; the payload is read
// once by the checksum and once by the transport. No allocation, lock or system call here.
//
// Thread rule: lane only (names end in OnLane where the caller might not expect that), except where marked.
#ifndef MCP_LIB_SESSION_RAIL_H_
#define MCP_LIB_SESSION_RAIL_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/session/landing.h"
#include "lib/session/lane.h"
#include "lib/session/loss_tally.h"
#include "lib/session/operation.h"
#include "lib/session/place_counter.h"
#include "lib/transport/transport.h"
#include "lib/wire/frame.h"
#include "lib/wire/hello.h"
#include "mcp/session.h"

namespace mcp::internal {

class SessionImpl;

// Largest payload of one tile frame.
inline constexpr uint64_t kTileBytesMax = uint64_t{1} << 20;

// Frames that may be unacknowledged on one rail; far under half the sequence space.
inline constexpr uint32_t kFramesInFlightMax = 8192;
// Frames without acknowledgement for this long make the rail ask what became of them; sooner at first, and then less
// and less often, where the transport wants that.
inline constexpr int64_t kProbeAfterNs = 200'000'000;
// Deadlines are looked at this often, so an operation may overstay its own by as much.
inline constexpr int64_t kDeadlineTickNs = 5'000'000;
// The transport is asked this often what it knows of the path: off the data path, since it may take a system call.
inline constexpr int64_t kPathEveryNs = 100'000'000;
// A lost connection is made anew at once; where that fails, or connections get nothing done, after a pause that doubles
// up to the longest one, less a random part of up to half. A connection that got something done takes a doubling back,
// and another one for each kBackoffDecayNs that it stood.
inline constexpr int64_t kBackoffNsMin = 5'000'000;
inline constexpr int64_t kBackoffNsMax = 100'000'000;
// The same for a rail that is not needed, since others do its work.
inline constexpr int64_t kUnneededBackoffNsMax = 1'000'000'000;
inline constexpr int64_t kBackoffDecayNs = 100'000'000;
// Connections in a row that may get nothing done, as far as this side sees; by then some two seconds have passed.
inline constexpr uint32_t kFruitlessConnectionsMax = 32;
// One attempt, where the time that is left for recovery is not less: a path that swallows it may be tried again.
inline constexpr int64_t kReconnectAttemptNs = 1'000'000'000;
// Times that one frame is sent again because its payload arrived damaged.
inline constexpr uint8_t kResendsMax = 16;

// Written by the rail's lane, read by any thread.
struct RailCounters {
  std::atomic<uint64_t> operations_completed{0};
  std::atomic<uint64_t> operations_failed{0};
  std::atomic<uint64_t> payload_bytes_sent{0};
  std::atomic<uint64_t> payload_bytes_received{0};
  std::atomic<uint64_t> wire_bytes_sent{0};
  std::atomic<uint64_t> retransmitted_tiles{0};
  std::atomic<uint64_t> checksum_failures{0};
  std::atomic<uint64_t> reconnections{0};
  std::atomic<uint64_t> announced_transfers{0};
  std::atomic<uint64_t> path_retransmits{0};      // by the transport's own reckoning, as of kPathEveryNs ago
  std::atomic<uint64_t> path_counter{0};          // of PathStatistics
  std::atomic<uint64_t> path_counted{0};          // what that shows
  std::atomic<uint64_t> path_counted_before{0};   // what it showed when this was connected
  std::atomic<uint64_t> bytes_between_losses{0};  // the same
  std::atomic<uint64_t> memory_bytes{0};          // held by the rail, as of its last tick

  static void Add(std::atomic<uint64_t>& counter, uint64_t amount) {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
};

class Rail {
 public:
  enum class State : uint8_t {
    kIdle,        // before the session has begun
    kConnecting,  // waiting for kConnected
    kUp,
    kDropping,      // waiting for kClosed, to be connected again
    kAway,          // no connection: one will be made, or the session ends; not before it is wanted, the first time
    kReconnecting,  // waiting for kConnected, not of the session's first connection
    kClosing,       // waiting for kClosed
    kDown,          // nothing touches memory on its behalf any more
  };

  Rail(SessionImpl& session, uint16_t index, Lane& lane);

  SessionImpl& session() { return session_; }
  Lane& lane() { return lane_; }
  uint16_t index() const { return index_; }
  bool device_places() const { return device_places_; }
  // Any thread.
  bool up() const { return up_.load(std::memory_order_acquire); }
  // Up, or away and to come back, since it has carried something: work may wait for it.
  bool relied_on() const { return relied_on_.load(std::memory_order_acquire); }
  // Up, so that new work may go by it. One that was never connected is connected from now on.
  bool TakesWork() {
    if (ABSL_PREDICT_TRUE(up())) return true;
    Want();
    return false;
  }
  void Want();
  State state() const { return state_; }
  // Of its connection, or of the one that is being made.
  uint32_t generation() const { return generation_; }
  // Everything before this sequence was taken from the peer.
  uint32_t AcknowledgedByUs() const;
  // And everything before this one, but for what arrived damaged.
  uint32_t expected() const { return expected_; }
  const RailCounters& counters() const { return counters_; }
  RailCounters& counters() { return counters_; }

  // Any thread: the operations that this rail has accepted; each end gives its place back.
  PlaceCounter& places() { return places_; }
  const PlaceCounter& places() const { return places_; }

  // Any thread: payload of messages and of parts of transfers that was given to this rail, or, if negative, has ended.
  void AddCarried(int64_t bytes) { carried_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  // Any thread: what is under way here, as far as that is known. Puts and gets are counted and not weighed: they are
  // taken to be as long as the one that asks.
  int64_t LoadBytes(int64_t length) const {
    return carried_bytes_.load(std::memory_order_relaxed) + places_.count() * length;
  }

  // For the choice between this rail and others of its lane.
  uint32_t NextTurnOnLane() { return turn_++; }

  // Lifecycle.
  absl::Status ConnectOnLane(absl::string_view address, absl::Span<const std::byte> hello, int64_t deadline_ns);
  absl::Status AcceptOnLane(std::unique_ptr<PendingConnection> pending, absl::Span<const std::byte> reply);
  // A rail after the first begins without a connection, and has one as soon as it is wanted: on the connecting side...
  void AwaitUseOnLane();
  void ConnectWantedOnLane();
  // ...and on the other, which the peer connects, the first time or again: accepted once the connection that the rail
  // had has closed here, too.
  void OfferOnLane(const Hello& hello, std::unique_ptr<PendingConnection> pending);
  // Begins to close the connection; kDown follows. Repeated calls do nothing.
  void CloseOnLane(const absl::Status& reason);
  // The connection is gone: ends everything that was posted or waits here with `status`.
  void EndOperationsOnLane(const absl::Status& status);

  // Sending. Takes the operation over; it is posted at the end of the round, and small ones as soon as they fill a
  // frame.
  void EnqueueOnLane(Operation* operation);
  // The same for work of one tile that this side's device does alone.
  void EnqueueOneSidedOnLane(Operation* operation);
  // Builds an operation without completion (a control frame).
  Operation* NewFrame(FrameType type) {
    Operation* operation = lane_.operations().Get();
    operation->Reset(type);
    return operation;
  }
  void Flush(bool about_to_block);
  // The half of Flush that acknowledges nothing.
  void PostPending();
  // Something is left that a later flush must send.
  bool wants_flush() const;
  // Something is left that need not wait for anything but the next round.
  bool has_backlog() const { return backlog_; }
  // Tells the peer about credit or a loss by the next acknowledgement.
  void RequestAck() {
    ack_urgent_ = true;
    lane_.MarkDirtyOnLane(this);
  }

  void WatchDeadlines(int64_t first_ns) {
    has_deadlines_ = true;
    lane_.TickByOnLane(first_ns);
  }

  // Landings that this rail's lane completes.
  void OpenLanding(Landing* landing) { landings_.PushBack(landing); }
  // Gives the landing, whose region and home are set, a key to `range`. Returns what the peer's devices are told: where
  // its region has it, or a window of its own. On an error it has neither.
  absl::StatusOr<RemoteWindow> LetIn(Landing* landing, absl::Span<std::byte> range);
  // Takes the key back; the completion runs with `outcome` once nothing uses the landing.
  void CloseLanding(Landing* landing, absl::Status outcome);
  void CompleteLanding(Landing* landing);
  // The peer's devices have no way in any more, or never had one but the region's.
  void OnWindowClosed(Landing* landing);

  // Events of the transport.
  void OnDone(const Event& event);
  void OnConnected(const Event& event);
  void OnMessage(const Event& event);
  void OnClosed(const Event& event);

  // Timers: returns when to look again.
  int64_t OnTick();
  // Ends an operation of this rail early, where that is possible: true if it was found.
  bool CancelOnLane(OperationId id, const absl::Status& status);
  // The peer took back the landing that some operations write to.
  void RevokeOnLane(uint64_t key);
  // Closes the landing of that key, if there is one.
  void CloseLandingOf(uint64_t key, absl::Status outcome);
  // The same, but where the landing was withdrawn only when every rail of the session has said so.
  void AbandonLandingOf(uint64_t key, const absl::Status& outcome);
  // Whether RevokeOnLane has lately seen the key.
  bool WasRevoked(uint64_t key) const { return std::find(revoked_.begin(), revoked_.end(), key) != revoked_.end(); }

  RailDescription DescribeOnLane() const;
  // From memory to the device that carries it, as far as that is known.
  NodeDistances DistancesOnLane() const;
  // Nothing but zeros while the rail is not up.
  PathStatistics AskPathOnLane();
  // What had to be sent again, as far as is known by now. Any thread.
  RailLosses Losses() const;

  bool dirty = false;  // the lane's

 private:
  enum class Take : uint8_t { kFrame, kDuplicate, kGap };
  struct Damaged {
    uint32_t sequence;
    uint32_t times;  // that it came so
  };

  void CutTile();
  void PostIfPackFull(const Operation& next);
  // What heads the pending list as one frame; null where that would be one operation.
  Operation* PackPending();
  Operation* DissolvePack(Operation* pack);
  void Unpack(Operation* pack);
  void FinishPack(Operation* pack, const absl::Status& status);
  bool PostBatch(uint64_t* budget);
  bool PostReplays();
  // Of the pending list's head.
  struct Run {
    uint32_t count = 0;
    uint64_t placed_bytes = 0;
    Operation* last = nullptr;
  };
  Run BuildRun();
  bool PostRun(Run run);
  void BuildRequest(Operation* operation, uint32_t sequence, size_t slot);
  void BuildOneSided(const Operation& operation, uint32_t number, WorkRequest* request) const;
  bool PostAtOnce(Operation* operation);
  void CountPlaced(uint64_t bytes);
  bool OwesAck() const;
  void SendAckIfDue(bool about_to_block);
  uint64_t RequestBytes(const Operation& tile) const;
  bool PostAck(uint8_t flags, uint64_t resend, bool may_overtake);
  bool WindowOpen() const;

  void Acknowledge(uint32_t acknowledged);
  void CompleteSent(Operation* operation, const absl::Status& status);
  void Resend(uint32_t sequence, uint32_t times);

  void OnAckFrame(const Frame& frame);
  Damaged* FindDamaged(uint32_t sequence);
  Take TakeSequence(uint32_t sequence);
  void Advance(uint32_t sequence);
  void MarkDamaged(const Frame& frame, uint64_t payload_bytes);
  void OnDamagedHeader();
  void DropForGap();
  void OnSequenced(const Frame& frame, const Event& event, size_t header_bytes);
  bool OnTile(const Frame& frame, const Event& event);
  bool PayloadHolds(const Frame& frame, const std::byte* payload, uint64_t size);

  void ExpireOperations();
  void MeasureSilence();
  void OnSilence();
  int64_t ProbeAfterNs() const;
  void Probe();
  uint64_t MemoryBytes() const;
  absl::string_view WhyNotConnected() const;

  // Recovery.
  void BeginUp();
  void Serve(bool serves);
  void SetUp(bool up);
  void Appear();
  void Join();
  void GoDown(const absl::Status& status);
  void Drop(absl::Status why);
  void OnLost(const absl::Status& why);
  void OnAttemptLost(const absl::Status& why);
  void ForgetConnection();
  void Reconnect();
  void OnAttemptFailed(const absl::Status& status);
  void OnReconnected(absl::Span<const std::byte> reply);
  void TakeOffer();
  bool TakesOffers() const;
  void Resume(const Hello& hello);
  int64_t TickAway();
  absl::Status NotBack(int64_t waited_ns) const;
  bool Needed() const;
  void LookWhetherNeeded();
  void NeedFromNow();
  int64_t RecoveryEndsNs();
  int64_t Backoff() const;
  uint64_t Progress() const;

  SessionImpl& session_;
  Lane& lane_;
  const uint16_t index_;
  const bool device_places_;  // tiles, whatever this side makes of them
  State state_ = State::kIdle;
  std::atomic<bool> up_{false};
  std::atomic<bool> relied_on_{false};
  std::atomic<bool> wanted_;  // the first is from the beginning
  ConnectionId connection_ = 0;

  // Sending.
  uint32_t turn_ = 0;
  OperationList pending_;  // not posted
  OperationList sent_;     // posted, not acknowledged; sequences [sent front, next_sequence_)
  uint32_t next_sequence_ = 0;
  static constexpr uint32_t kAtOnceMax = 2;
  static constexpr uint64_t kAtOnceBytesMax = 256;
  OperationList one_sided_;      // posted, and not framed: the device says when they are done
  uint32_t next_one_sided_ = 0;  // their numbers: the last is the one before it
  uint32_t replays_ = 0;         // operations of sent_ that are marked for replay
  uint64_t bytes_in_flight_ = 0;
  uint32_t packs_ = 0;           // built and not acknowledged
  uint32_t packed_ = 0;          // operations in them
  uint64_t unpacked_bytes_ = 0;  // of the pending operations that came since the last post: what a pack would need
  bool has_deadlines_ = false;
  bool refused_ = false;  // the transport took less than it was given
  bool backlog_ = false;

  // Receiving.
  uint32_t expected_ = 0;
  static constexpr size_t kDamagedMax = 64;
  std::array<Damaged, kDamagedMax> damaged_;  // before expected_, to be sent again
  size_t damaged_count_ = 0;
  uint32_t unacknowledged_ = 0;  // frames taken since the last acknowledgement was sent
  bool ack_waited_ = false;
  bool ack_urgent_ = false;
  bool reply_wanted_ = false;
  uint32_t resend_wanted_ = 0;  // of damaged_: how many have been reported
  int64_t resend_asked_ns_ = 0;

  // Liveness.
  int64_t last_heard_ns_ = 0;
  int64_t last_tick_ns_ = 0;
  int64_t silent_ns_ = 0;  // as of the last tick, less what this lane itself slept through
  int64_t last_ping_ns_ = 0;
  int64_t last_progress_ns_ = 0;
  uint32_t damaged_payloads_ = 0;  // in a row
  int64_t probe_sent_ns_ = 0;
  const int64_t probe_after_ns_min_;
  uint32_t probes_ = 0;  // since there was progress
  int64_t path_asked_ns_ = 0;
  std::optional<uint64_t> retransmits_before_;

  // Recovery.
  bool joined_;  // it was connected before
  uint32_t generation_ = 0;
  uint32_t next_path_;
  uint32_t backoff_level_ = 0;
  uint32_t reconnections_ = 0;
  int64_t up_since_ns_ = 0;
  uint32_t fruitless_ = 0;  // connections
  int64_t lost_ns_ = 0;
  bool was_needed_ = false;  // when that was looked at last
  int64_t needed_ns_ = 0;    // since when something waits for the connection
  int64_t retry_ns_ = 0;
  uint64_t progress_when_up_ = 0;
  uint64_t path_retransmits_lost_ = 0;  // of the connections that are gone
  absl::Status lost_why_;
  absl::Status attempt_why_;                    // of the last attempt that failed since
  std::unique_ptr<PendingConnection> offered_;  // by the peer, to be accepted once the old connection has closed
  Hello offered_hello_;

  LandingList landings_;
  static constexpr size_t kRevokedMax = 64;
  std::array<uint64_t, kRevokedMax> revoked_{};  // keys, the latest ones
  size_t revoked_next_ = 0;
  RailCounters counters_;

  alignas(64) std::atomic<int64_t> carried_bytes_{0};  // not in the line of what the rail's lane reads for each tile
  PlaceCounter places_;
};

inline void Rail::BuildOneSided(const Operation& operation, uint32_t number, WorkRequest* request) const {
  request->kind = operation.way == Way::kPlaced ? WorkRequest::Kind::kPlace : WorkRequest::Kind::kFetch;
  request->signaled = false;
  request->may_overtake = false;
  request->connection = connection_;
  request->header_bytes = 0;
  request->payload = operation.payload;
  request->payload_bytes = operation.payload_bytes;
  request->offset = operation.words[1];
  request->window = RemoteWindow::Load(operation.words + kFrameWindowWord);
  request->work_id = number;
  request->registered = operation.registered;
}

// a comes before b, in sequence arithmetic.
inline bool SequenceBefore(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_RAIL_H_
