// One-sided work: puts, gets and the tiles of large messages are all writes into a window of the peer's.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {
namespace {

// Gets that have ended at the peer, cancelled or with their last byte, before this side could let go of its answer.
constexpr uint64_t kLateAnswersMax = 16384;

}  // namespace

void SessionImpl::StartPut(Rail& rail, const Work& work, Completion&& completion) {
  const uint64_t length = work.local.length;
  const bool small = length <= eager_bytes_max_;
  Operation* operation = NewOperation(rail, small ? FrameType::kPut : FrameType::kTile, work, std::move(completion));
  if (small) {
    operation->words[0] = work.remote.key;
    operation->words[1] = work.remote.offset;
    return rail.EnqueueOnLane(operation);
  }
  operation->SetTarget(work.remote.key, work.remote.offset, work.remote.window);
  StartWrite(rail, operation);
}

void SessionImpl::StartWrite(Rail& rail, Operation* operation) {
  const uint64_t length = operation->payload_bytes;
  if (IsOneTile(length)) return rail.EnqueueOnLane(operation);
  const bool spreads = Spreads(rail, length);
  if (!spreads && length <= kTileBytesMax) return rail.EnqueueOnLane(operation);
  const Part whole = MakeTransfer(rail.lane(), operation);
  if (spreads) return Spread(rail, whole);
  SubmitPart(rail, whole);
}

bool SessionImpl::Spreads(const Rail& rail, uint64_t length) const {
  if (rail_count_ == 1) return false;
  const bool idle = rail.places().count() <= 1 && home_places_.count() <= 1;
  return length >= (idle ? kStripeIdleBytesMin : kStripeBytesMin);
}

SessionImpl::Part SessionImpl::MakeTransfer(Lane& lane, Operation* operation) {
  Transfer* transfer = lane.transfers().Get();
  transfer->pool = &lane.transfers();
  transfer->bytes_left.store(operation->payload_bytes, std::memory_order_relaxed);
  transfer->failed.store(0, std::memory_order_relaxed);
  transfer->length = operation->payload_bytes;
  transfer->region = operation->region;
  transfer->registered = operation->registered;
  transfer->source_slot = operation->source_slot;
  transfer->id = operation->id;
  transfer->completion = std::move(operation->completion);
  transfer->key = operation->words[0];
  transfer->choice = {};
  const Part whole{transfer,
                   operation->payload,
                   operation->payload_bytes,
                   {operation->words[0], operation->words[1], RemoteWindow::Load(operation->words + kFrameWindowWord)},
                   operation->deadline_ns,
                   operation->way};
  lane.operations().Return(operation);
  return whole;
}

void SessionImpl::SubmitPart(Rail& carrier, const Part& part) {
  carrier.AddCarried(static_cast<int64_t>(part.length));
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

// Contiguous parts, one a rail that is up, cut into tiles where they are posted.
void SessionImpl::Spread(Rail& first, Part part) {
  std::array<Rail*, kRailsMax> carriers;
  uint64_t rails = 0;
  for (uint32_t i = 0; i < rail_count_; ++i) {
    Rail* const rail = rails_[(first.index() + i) % rail_count_].get();
    if (rail->TakesWork()) carriers[rails++] = rail;
  }
  if (rails == 0) carriers[rails++] = &first;  // all are away: it waits for one
  const uint64_t share = (part.length / rails + kTileUnitBytes - 1) / kTileUnitBytes * kTileUnitBytes;
  uint64_t left = part.length;
  for (uint64_t i = 0; i < rails && left > 0; ++i) {
    part.length = i + 1 == rails ? left : std::min(share, left);
    left -= part.length;
    // The last part may be done, and the transfer with it, as soon as it is submitted.
    SubmitPart(*carriers[i], part);
    part.local += part.length;
    part.remote.offset += part.length;
  }
}

void SessionImpl::EnqueuePart(Rail& rail, const Part& part) {
  // The revocation may have overtaken it on the way to this lane.
  if (rail.WasRevoked(part.remote.key)) {
    return FinishPart(rail, part.transfer, part.remote.offset, part.length,
                      absl::CancelledError("the receiver took its buffer back"));
  }
  Operation* operation = rail.NewFrame(FrameType::kTile);
  operation->way = part.way;
  operation->SetTarget(part.remote.key, part.remote.offset, part.remote.window);
  operation->payload = part.local;
  operation->payload_bytes = part.length;
  operation->transfer = part.transfer;
  operation->registered = part.transfer->registered;
  operation->deadline_ns = part.deadline_ns;
  rail.EnqueueOnLane(operation);
}

void SessionImpl::FinishPart(Rail& rail, Transfer* transfer, uint64_t offset, uint64_t bytes,
                             const absl::Status& status) {
  rail.AddCarried(-static_cast<int64_t>(bytes));
  if (!status.ok()) transfer->Fail(status.code());
  const bool streamed = transfer->stream != nullptr;
  if (streamed && home_lane_.OnThisLane()) return OnPieceDone(rail, transfer, offset, bytes);
  if (!streamed && transfer->bytes_left.fetch_sub(bytes, std::memory_order_acq_rel) != bytes) return;
  if (!streamed && (!transfer->choice.made() || home_lane_.OnThisLane())) return FinishTransfer(rail, transfer);
  Submission notice;
  notice.kind = streamed ? Submission::Kind::kPieceDone : Submission::Kind::kTransferDone;
  notice.rail = &rail;
  notice.transfer = transfer;
  notice.offset = offset;
  notice.length = bytes;
  home_lane_.SubmitAlways(std::move(notice));
}

void SessionImpl::FinishTransfer(Rail& rail, Transfer* transfer) {
  Lane& lane = rail.lane();
  if (transfer->region != nullptr) transfer->region->Unreference(lane.shard());
  if (transfer->source_slot != Operation::kNoSlot) {
    lane.regions().Unpin(transfer->source_slot);
    answering_.fetch_sub(1, std::memory_order_relaxed);
  }
  const int failed = transfer->failed.load(std::memory_order_acquire);
  const OperationId id = transfer->id;
  const uint64_t length = transfer->length;
  if (transfer->choice.made()) TellChoiceOfEnd(*transfer, failed);
  CountEnded(lane, FrameType::kTile, id, length);
  if (failed != 0) GiveUp(id, transfer->key);
  Completion completion = std::move(transfer->completion);
  transfer->pool->Return(transfer);
  if (id == 0) return;
  absl::Status outcome;
  if (failed != 0) {
    outcome = ended() ? this->status()
                      : absl::Status(static_cast<absl::StatusCode>(failed), "part of the transfer was not sent");
  }
  Lane::Ended ended{&rail, std::move(completion), std::move(outcome), failed == 0 ? length : 0, 0, id};
  // It may have failed inside the call that started it.
  if (failed != 0) return lane.CompleteLaterOnLane(std::move(ended));
  Complete(ended);
}

// The time that a rail was away, or came, says nothing of the protocol; nor does that somebody gave the transfer up.
void SessionImpl::TellChoiceOfEnd(const Transfer& transfer, int failed) {
  for (uint32_t i = 0; i < rail_count_; ++i) choice_.AddLosses(i, rails_[i]->Losses());
  const int64_t now = home_lane_.clock().NowNs();
  const bool same_rails = transfer.rail_changes == rail_changes_.load(std::memory_order_relaxed);
  if (!same_rails || (failed != 0 && !OfThePath(static_cast<absl::StatusCode>(failed)))) {
    choice_.Abandon(transfer.choice, transfer.length);
  } else if (failed != 0) {
    choice_.Fail(transfer.choice, transfer.length, now);
  } else {
    choice_.Complete(transfer.choice, transfer.length, now);
  }
}

void SessionImpl::StartGet(Rail& rail, const Work& work, Completion&& completion) {
  const Local& local = work.local;
  Lane& lane = rail.lane();
  Landing* landing = lane.landings().Get();
  // Before the key is there for other lanes to resolve: what these read of a landing.
  landing->home = &rail;
  landing->bytes_left.store(local.length, std::memory_order_relaxed);
  landing->region = local.region;
  const absl::StatusOr<RemoteWindow> window = rail.LetIn(landing, {local.data, local.length});
  if (!window.ok()) {
    lane.landings().Return(landing);
    local.region->Unreference(lane.shard());
    return lane.CompleteLaterOnLane({&rail, std::move(completion), window.status(), 0, 0, work.id});
  }
  landing->length = local.length;
  landing->tag = 0;
  landing->from_send = false;
  landing->id = work.id;
  landing->deadline_ns = work.deadline_ns;
  landing->closing = landing->withdrawn = false;
  landing->abandons = 0;
  landing->completion = std::move(completion);
  rail.OpenLanding(landing);
  Operation* request = rail.NewFrame(FrameType::kGet);
  request->words[0] = work.remote.key;
  request->words[1] = work.remote.offset;
  request->words[2] = landing->key;
  window->Store(request->words + kFrameWindowWord);
  request->payload_bytes = local.length;
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
  answer->SetTarget(frame.get.landing, 0, RemoteWindow::Load(frame.get.window));
  answer->payload = resolved.address;
  answer->payload_bytes = frame.payload_bytes;
  answer->source_slot = resolved.slot;
  answer->registered = resolved.registered;
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
  return OnLanded(rail, static_cast<Landing*>(resolved.owner), resolved.slot, frame.put.key, frame.put.offset, size);
}

bool SessionImpl::OnStale(Rail& rail, const Frame& frame) {
  const RegionTable& regions = rail.lane().regions();
  if (regions.WasLanding(frame.put.key)) return true;
  FailViolation(
      rail,
      regions.DescribeRefusal(frame.put.key, frame.put.offset, frame.payload_bytes, kAccessRemoteWrite).message());
  return false;
}

bool SessionImpl::OnLanded(Rail& rail, Landing* landing, uint32_t slot, uint64_t key, uint64_t offset, uint64_t bytes) {
  RegionTable& regions = rail.lane().regions();
  Rail* home_rail = landing->home;
  const bool ours = &home_rail->session() == this;
  if (!ours || landing->chunks == nullptr || home_rail->lane().OnThisLane()) {
    const bool taken = ours ? TakeLanded(rail, landing, offset, bytes) : false;
    regions.Unpin(slot);
    if (!ours) FailViolation(rail, "tile frame: the landing is another session's");
    return taken;
  }
  regions.Unpin(slot);
  Submission notice;
  notice.kind = Submission::Kind::kLandingChunk;
  notice.rail = home_rail;
  notice.landing = landing;
  notice.key = key;
  notice.offset = offset;
  notice.length = bytes;
  home_rail->lane().SubmitAlways(std::move(notice));
  return true;
}

// Verified bytes are in the landing, which nothing can take away now.
bool SessionImpl::TakeLanded(Rail& rail, Landing* landing, uint64_t offset, uint64_t bytes) {
  uint64_t left = landing->bytes_left.load(std::memory_order_acquire);
  do {
    if (bytes > left) {
      FailViolation(rail,
                    absl::StrCat("payload_bytes ", bytes, " exceeds the ", left, " that the landing still awaits"));
      return false;
    }
  } while (!landing->bytes_left.compare_exchange_weak(left, left - bytes, std::memory_order_acq_rel));
  Rail* home_rail = landing->home;
  if (landing->chunks != nullptr && !landing->closing && !landing->withdrawn) {
    if (const absl::Status told = landing->chunks->OnTile(offset, bytes); !told.ok()) {
      FailViolation(rail, told.message());
      return false;
    }
  }
  if (left != bytes) return true;
  if (home_rail->lane().OnThisLane()) {
    home_rail->CloseLanding(landing, absl::OkStatus());
  } else {
    Submission notice;
    notice.kind = Submission::Kind::kLandingDone;
    notice.rail = home_rail;
    notice.landing = landing;
    notice.key = landing->key;
    home_rail->lane().SubmitAlways(std::move(notice));
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
  landing->chunks.reset();
  landing->key = 0;
  lane.landings().Return(landing);
  Lane::Ended ended{&rail, std::move(completion), std::move(outcome), length, tag, id};
  Complete(ended);
}

void SessionImpl::WithdrawLanding(Rail& rail, Landing* landing, const absl::Status& status) {
  if (landing->closing || landing->withdrawn) return;
  const bool remote = rail.device_places();
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
