// One-sided work: puts, gets and the tiles of large messages are all writes into a window of the peer's.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

// A rail that has nothing else to do shares a transfer from here on, since then its latency counts.
constexpr uint64_t kStripeIdleBytesMin = uint64_t{512} << 10;
// Gets that have ended at the peer, cancelled or with their last byte, before this side could let go of its answer.
constexpr uint64_t kLateAnswersMax = 16384;
// Parts begin at multiples of this, so that no page is shared by two rails.
constexpr uint64_t kStripeAlignment = uint64_t{64} << 10;

void SetTarget(Operation* operation, const SessionImpl::Remote& remote) {
  operation->words[0] = remote.key;
  operation->words[1] = remote.offset;
  StoreWindow(remote.window, operation->words + kFrameWindowWord);
}

SessionImpl::Remote TargetOf(const Operation& operation) {
  return {operation.words[0], operation.words[1], LoadWindow(operation.words + kFrameWindowWord)};
}

}  // namespace

// Nothing to send is left to frames: a device would not even look at the window.
void SessionImpl::StartPut(Rail& rail, Submission& submission) {
  if (one_sided_ && submission.length > 0) return StartOneSided(rail, submission, Way::kPlaced);
  const bool small = submission.length <= eager_bytes_max_;
  Operation* operation = rail.NewFrame(small ? FrameType::kPut : FrameType::kTile);
  SetTarget(operation, {submission.key, submission.offset, submission.window});
  operation->payload = submission.local;
  operation->payload_bytes = submission.length;
  operation->region = submission.region;
  operation->id = submission.id;
  operation->deadline_ns = submission.deadline_ns;
  operation->completion = std::move(submission.completion);
  if (small) return rail.EnqueueOnLane(operation);
  StartWrite(rail, operation);
}

void SessionImpl::StartOneSided(Rail& rail, Submission& submission, Way way) {
  StartOneSidedHere(rail, way, {submission.region, const_cast<std::byte*>(submission.local), submission.length},
                    {submission.key, submission.offset, submission.window}, std::move(submission.completion),
                    submission.id, submission.deadline_ns);
}

void SessionImpl::StartOneSidedHere(Rail& rail, Way way, const Local& local, const Remote& remote,
                                    Completion&& completion, OperationId id, int64_t deadline_ns) {
  Operation* operation = rail.NewFrame(FrameType::kTile);
  operation->way = way;
  SetTarget(operation, remote);
  operation->payload = local.data;
  operation->payload_bytes = local.length;
  operation->region = local.region;
  operation->id = id;
  operation->deadline_ns = deadline_ns;
  operation->completion = std::move(completion);
  StartWrite(rail, operation);
  rail.PostAtOnceIfSmall(local.length);
}

void SessionImpl::StartWrite(Rail& rail, Operation* operation) {
  const uint64_t length = operation->payload_bytes;
  if (length <= kTileBytesMax && (rail_count_ == 1 || length < kStripeIdleBytesMin)) {
    return rail.EnqueueOnLane(operation);
  }
  const bool idle = rail.places().count() <= 1 && home_places_.count() <= 1;
  if (rail_count_ > 1 && length >= (idle ? kStripeIdleBytesMin : kStripeBytesMin)) return Stripe(rail, operation);
  if (length <= kTileBytesMax) return rail.EnqueueOnLane(operation);
  Stripe(rail, operation);
}

// Turns the operation into a transfer, which its parts complete.
Transfer* SessionImpl::MakeTransfer(Lane& lane, Operation* operation) {
  Transfer* transfer = lane.transfers().Get();
  transfer->pool = &lane.transfers();
  transfer->bytes_left.store(operation->payload_bytes, std::memory_order_relaxed);
  transfer->failed.store(0, std::memory_order_relaxed);
  transfer->length = operation->payload_bytes;
  transfer->region = operation->region;
  transfer->source_slot = operation->source_slot;
  transfer->id = operation->id;
  transfer->completion = std::move(operation->completion);
  lane.operations().Return(operation);
  return transfer;
}

void SessionImpl::SubmitPart(Rail& carrier, Part part) {
  if (carrier.lane().OnThisLane()) return EnqueuePart(carrier, part);
  Submission submission;
  submission.kind = Submission::Kind::kPart;
  submission.rail = &carrier;
  submission.transfer = part.transfer;
  submission.local = part.local;
  submission.length = part.length;
  submission.key = part.remote.key;
  submission.offset = part.remote.offset;
  submission.window = part.remote.window;
  submission.deadline_ns = part.deadline_ns;
  submission.way = part.way;
  carrier.lane().SubmitAlways(std::move(submission));
}

void SessionImpl::SendWhole(Rail& carrier, Operation* operation) {
  Part part{nullptr, operation->payload, operation->payload_bytes, TargetOf(*operation), operation->deadline_ns};
  part.transfer = MakeTransfer(home_lane_, operation);
  SubmitPart(carrier, part);
}

// Contiguous parts, one a rail, cut into tiles where they are posted.
void SessionImpl::Stripe(Rail& rail, Operation* operation) {
  const uint64_t length = operation->payload_bytes;
  Part part{nullptr, operation->payload, 0, TargetOf(*operation), operation->deadline_ns, operation->way};
  part.transfer = MakeTransfer(rail.lane(), operation);
  const uint64_t rails = length >= kStripeIdleBytesMin ? rail_count_ : 1;
  const uint64_t share = (length / rails + kStripeAlignment - 1) / kStripeAlignment * kStripeAlignment;
  uint64_t left = length;
  for (uint64_t i = 0; i < rails && left > 0; ++i) {
    part.length = i + 1 == rails ? left : std::min(share, left);
    left -= part.length;
    // The last part may be done, and the transfer with it, as soon as it is submitted.
    SubmitPart(*rails_[(rail.index() + i) % rail_count_], part);
    part.local += part.length;
    part.remote.offset += part.length;
  }
}

void SessionImpl::EnqueuePart(Rail& rail, const Part& part) {
  // The revocation may have overtaken it on the way to this lane.
  if (rail.WasRevoked(part.remote.key)) {
    return FinishPart(rail, part.transfer, part.length, absl::CancelledError("the receiver took its buffer back"));
  }
  Operation* operation = rail.NewFrame(FrameType::kTile);
  operation->way = part.way;
  SetTarget(operation, part.remote);
  operation->payload = part.local;
  operation->payload_bytes = part.length;
  operation->transfer = part.transfer;
  operation->deadline_ns = part.deadline_ns;
  rail.EnqueueOnLane(operation);
}

void SessionImpl::FinishPart(Rail& rail, Transfer* transfer, uint64_t bytes, const absl::Status& status) {
  if (!status.ok()) {
    int none = 0;
    transfer->failed.compare_exchange_strong(none, static_cast<int>(status.code()), std::memory_order_acq_rel);
  }
  if (transfer->bytes_left.fetch_sub(bytes, std::memory_order_acq_rel) != bytes) return;
  Lane& lane = rail.lane();
  if (transfer->region != nullptr) transfer->region->Unreference(lane.shard());
  if (transfer->source_slot != Operation::kNoSlot) {
    lane.regions().Unpin(transfer->source_slot);
    answering_.fetch_sub(1, std::memory_order_relaxed);
  }
  const int failed = transfer->failed.load(std::memory_order_acquire);
  const OperationId id = transfer->id;
  const uint64_t length = transfer->length;
  Completion completion = std::move(transfer->completion);
  transfer->pool->Return(transfer);
  if (id == 0) return;
  absl::Status outcome;
  if (failed != 0) {
    outcome = ended() ? this->status()
                      : absl::Status(static_cast<absl::StatusCode>(failed), "part of the transfer was not sent");
  }
  Lane::Ended ended{&rail, std::move(completion), std::move(outcome), failed == 0 ? length : 0, 0, id};
  Complete(ended);
}

void SessionImpl::StartGet(Rail& rail, Submission& submission) {
  if (one_sided_ && submission.length > 0) return StartOneSided(rail, submission, Way::kFetched);
  Lane& lane = rail.lane();
  Landing* landing = lane.landings().Get();
  // Before the key is there for other lanes to resolve: what these read of a landing.
  landing->home = &rail;
  landing->bytes_left.store(submission.length, std::memory_order_relaxed);
  const absl::StatusOr<uint64_t> key =
      lane.regions().Insert(const_cast<std::byte*>(submission.local), submission.length, kAccessRemoteWrite, landing);
  if (!key.ok()) {
    lane.landings().Return(landing);
    submission.region->Unreference(lane.shard());
    return lane.CompleteLaterOnLane({&rail, std::move(submission.completion), key.status(), 0, 0, submission.id});
  }
  landing->key = *key;
  landing->length = submission.length;
  landing->tag = 0;
  landing->from_send = false;
  landing->region = submission.region;
  landing->id = submission.id;
  landing->deadline_ns = submission.deadline_ns;
  landing->closing = landing->withdrawn = false;
  landing->abandons = 0;
  landing->completion = std::move(submission.completion);
  rail.OpenLanding(landing);
  Operation* request = rail.NewFrame(FrameType::kGet);
  request->words[0] = submission.key;
  request->words[1] = submission.offset;
  request->words[2] = *key;
  StoreWindow(submission.region->WindowAt(submission.local), request->words + kFrameWindowWord);
  request->payload_bytes = submission.length;
  rail.EnqueueOnLane(request);
  if (landing->deadline_ns != 0) rail.WatchDeadlines(landing->deadline_ns);
}

// The peer reads: answered by a write into its landing, straight from the exported memory, on the rail that asked.
void SessionImpl::OnGet(Rail& rail, const Frame& frame) {
  RegionTable& regions = rail.lane().regions();
  const Resolved resolved = regions.Resolve(frame.get.key, frame.get.offset, frame.payload_bytes, kAccessRemoteRead);
  if (resolved.outcome != Resolved::Outcome::kOk || resolved.owner != nullptr) {
    return FailViolation(
        rail, resolved.outcome == Resolved::Outcome::kOk
                  ? absl::string_view("get frame: the key names a landing")
                  : regions.DescribeRefusal(frame.get.key, frame.get.offset, frame.payload_bytes, kAccessRemoteRead)
                        .message());
  }
  const uint64_t answers_max = uint64_t{peer_outstanding_max_} + kLateAnswersMax;
  if (answering_.fetch_add(1, std::memory_order_relaxed) >= answers_max) {
    answering_.fetch_sub(1, std::memory_order_relaxed);
    return FailViolation(rail, absl::StrCat("get frame: more than ", answers_max, " gets in flight"));
  }
  regions.Pin(resolved.slot);
  const bool small = frame.payload_bytes <= eager_bytes_max_;
  Operation* answer = rail.NewFrame(small ? FrameType::kPut : FrameType::kTile);
  SetTarget(answer, {frame.get.landing, 0, LoadWindow(frame.get.window)});
  answer->payload = resolved.address;
  answer->payload_bytes = frame.payload_bytes;
  answer->source_slot = resolved.slot;
  if (small) return rail.EnqueueOnLane(answer);
  StartWrite(rail, answer);
}

// A small put: its bytes are in the transport's hands, verified, and go to their place now.
bool SessionImpl::OnPut(Rail& rail, const Frame& frame, const std::byte* payload) {
  RegionTable& regions = rail.lane().regions();
  const uint64_t size = frame.payload_bytes;
  const Resolved resolved = regions.Resolve(frame.put.key, frame.put.offset, size, kAccessRemoteWrite);
  if (resolved.outcome == Resolved::Outcome::kStale) return OnStale(rail, frame);
  if (resolved.outcome == Resolved::Outcome::kRefused) {
    FailViolation(rail, regions.DescribeRefusal(frame.put.key, frame.put.offset, size, kAccessRemoteWrite).message());
    return false;
  }
  if (resolved.owner == nullptr) {
    std::memcpy(resolved.address, payload, size);
    return true;
  }
  if (!regions.TryPin(resolved.slot, frame.put.key)) return true;
  std::memcpy(resolved.address, payload, size);
  return OnLanded(rail, static_cast<Landing*>(resolved.owner), resolved.slot, frame.put.key, size);
}

bool SessionImpl::OnStale(Rail& rail, const Frame& frame) {
  const RegionTable& regions = rail.lane().regions();
  if (regions.WasLanding(frame.put.key)) return true;
  FailViolation(
      rail,
      regions.DescribeRefusal(frame.put.key, frame.put.offset, frame.payload_bytes, kAccessRemoteWrite).message());
  return false;
}

bool SessionImpl::OnLanded(Rail& rail, Landing* landing, uint32_t slot, uint64_t key, uint64_t bytes) {
  RegionTable& regions = rail.lane().regions();
  Rail* home_rail = landing->home;
  uint64_t left = landing->bytes_left.load(std::memory_order_acquire);
  do {
    if (&home_rail->session() != this || bytes > left) {
      regions.Unpin(slot);
      FailViolation(rail,
                    absl::StrCat("payload_bytes ", bytes, " exceeds the ", left, " that the landing still awaits"));
      return false;
    }
  } while (!landing->bytes_left.compare_exchange_weak(left, left - bytes, std::memory_order_acq_rel));
  regions.Unpin(slot);
  if (left != bytes) return true;
  if (home_rail->lane().OnThisLane()) {
    home_rail->CloseLanding(landing, absl::OkStatus());
  } else {
    Submission submission;
    submission.kind = Submission::Kind::kLandingDone;
    submission.rail = home_rail;
    submission.landing = landing;
    submission.key = key;
    home_rail->lane().SubmitAlways(std::move(submission));
  }
  return true;
}

void SessionImpl::FinishLanding(Rail& rail, Landing* landing) {
  Lane& lane = rail.lane();
  landing->region->Unreference(lane.shard());
  absl::Status outcome = std::move(landing->outcome);
  landing->outcome = absl::OkStatus();
  const uint64_t length = outcome.ok() ? landing->length : 0;
  const uint64_t tag = landing->tag;
  const OperationId id = landing->id;
  Completion completion = std::move(landing->completion);
  landing->key = 0;
  lane.landings().Return(landing);
  Lane::Ended ended{&rail, std::move(completion), std::move(outcome), length, tag, id};
  Complete(ended);
}

void SessionImpl::WithdrawLanding(Rail& rail, Landing* landing, const absl::Status& status) {
  if (landing->closing || landing->withdrawn) return;
  const bool remote = PlacesRemotely(rail);
  if (landing->from_send || remote) {
    Operation* revoke = rail.NewFrame(FrameType::kRevoke);
    revoke->words[0] = landing->key;
    rail.EnqueueOnLane(revoke);
  }
  if (!remote) return rail.CloseLanding(landing, status);
  landing->withdrawn = true;
  landing->outcome = status;
  landing->deadline_ns = 0;
}

}  // namespace mcp::internal
