// The sending half of a rail: pending operations become frames, frames wait for their acknowledgement.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"
#include "lib/wire/checksum.h"
#include "lib/wire/pack.h"

namespace mcp::internal {
namespace {

// Tiles' payload that may be unacknowledged on one rail: 100 Gb/s for 2.6 ms.
constexpr uint64_t kBytesInFlightMax = uint64_t{32} << 20;
// Payload that one flush hands over before the lane looks at its events again.
constexpr uint64_t kFlushBytesMax = uint64_t{4} << 20;
// Payload that is hashed before the first of it is posted: the path should not wait for the hashing of a whole batch.
constexpr uint64_t kBatchBytesMax = uint64_t{512} << 10;
// An acknowledgement that could travel with a frame of ours waits one round, unless this many frames wait for it.
constexpr uint32_t kAckFramesMax = 32;

bool CarriesPayload(FrameType type) {
  return type == FrameType::kPut || type == FrameType::kTile || type == FrameType::kEager ||
         type == FrameType::kHedged || type == FrameType::kClose || IsPack(type);
}

absl::Status Revoked() { return absl::CancelledError("the receiver took its buffer back"); }

}  // namespace

void Rail::EnqueueOnLane(Operation* operation) {
  if (ABSL_PREDICT_FALSE(state_ != State::kUp)) {
    // A frame about something that was withdrawn while the session ended: there is nobody to tell.
    if (state_ == State::kDown) return session_.FinishOperation(*this, operation, session_.status());
    NeedFromNow();
  }
  if (operation->deadline_ns != 0) WatchDeadlines(operation->deadline_ns);
  if (IsSmall(operation->type)) PostIfPackFull(*operation);
  pending_.PushBack(operation);
  lane_.MarkDirtyOnLane(this);
}

bool Rail::WindowOpen() const { return sent_.size() < kFramesInFlightMax && bytes_in_flight_ < kBytesInFlightMax; }

bool Rail::OwesAck() const {
  return unacknowledged_ > 0 || ack_urgent_ || reply_wanted_ || resend_wanted_ < damaged_count_;
}

bool Rail::wants_flush() const { return state_ == State::kUp && (backlog_ || refused_ || replays_ > 0 || OwesAck()); }

void Rail::Flush(bool about_to_block) {
  PostPending();
  if (state_ == State::kUp && OwesAck()) SendAckIfDue(about_to_block);
}

void Rail::PostPending() {
  backlog_ = false;
  refused_ = false;
  unpacked_bytes_ = 0;
  if (state_ != State::kUp || (pending_.empty() && replays_ == 0)) return;
  uint64_t budget = kFlushBytesMax;
  if (replays_ == 0 || PostReplays()) {
    while (!pending_.empty() && WindowOpen()) {
      if (budget == 0) {
        backlog_ = true;
        break;
      }
      const Run run = BuildRun();
      if (run.count > 0 ? !PostRun(run) : !PostBatch(&budget)) {
        refused_ = true;
        break;
      }
    }
  } else {
    refused_ = true;
  }
}

// Takes a tile off the run that heads the pending list. Its last tile is the run itself.
void Rail::CutTile() {
  Operation* run = pending_.front();
  Operation* tile = NewFrame(FrameType::kTile);
  tile->way = run->way;
  std::copy(std::begin(run->words), std::end(run->words), tile->words);
  tile->payload = run->payload;
  tile->payload_bytes = kTileBytesMax;
  tile->transfer = run->transfer;
  tile->registered = run->registered;
  run->words[1] += kTileBytesMax;
  run->payload += kTileBytesMax;
  run->payload_bytes -= kTileBytesMax;
  pending_.PushFront(tile);
}

// A queue pair that went back to what was lost may hear of the next loss only after an acknowledgement (soft-RoCE's
// does not), and otherwise waits for its time-out, in which a message would have gone a dozen times. Devices
// acknowledge the end of a request. Bulk gains nothing by short ones: all of its message stands behind each loss.
uint64_t Rail::RequestBytes(const Operation& tile) const {
  constexpr uint64_t kShortBytes = 16 << 10;
  constexpr uint64_t kLossyBytes = 4 << 20;  // one packet of a thousand, where they have 4 KiB
  const uint64_t between = counters_.bytes_between_losses.load(std::memory_order_relaxed);
  const bool streamed = tile.transfer != nullptr && tile.transfer->stream != nullptr;
  return between > 0 && between < kLossyBytes && streamed ? kShortBytes : 0;
}

void Rail::BuildRequest(Operation* operation, uint32_t sequence, size_t slot) {
  // Revoked: the memory there may be in other use by now, and a device that writes would not be stopped.
  const bool payload = CarriesPayload(operation->type) && !operation->revoked;
  const uint64_t payload_bytes = operation->revoked ? 0 : operation->payload_bytes;
  Frame frame;
  frame.type = operation->type;
  frame.sequence = sequence;
  frame.acknowledged = AcknowledgedByUs();
  frame.payload_bytes = payload_bytes;
  std::copy(std::begin(operation->words), std::end(operation->words), frame.words);
  if (payload && (session_.checksum() || IsPack(operation->type))) {
    if (!operation->payload_hashed) {
      operation->payload_checksum = Checksum(operation->payload, operation->payload_bytes);
      operation->payload_hashed = true;
    }
    frame.flags |= kFlagPayloadChecked;
    frame.payload_checksum = operation->payload_checksum;
  }
  std::byte* header = lane_.batch_header(slot);
  WorkRequest& request = lane_.batch()[slot];
  request.kind = operation->type == FrameType::kTile ? WorkRequest::Kind::kWrite : WorkRequest::Kind::kMessage;
  request.signaled = false;
  request.may_overtake = false;
  request.connection = connection_;
  request.header = header;
  request.header_bytes = static_cast<uint32_t>(EncodeFrame(frame, header));
  request.payload = payload ? operation->payload : nullptr;
  request.payload_bytes = payload ? payload_bytes : 0;
  request.key = operation->words[0];
  request.offset = operation->words[1];
  if (request.kind == WorkRequest::Kind::kWrite) {
    request.window = RemoteWindow::Load(operation->words + kFrameWindowWord);
    request.request_bytes = RequestBytes(*operation);
  }
  request.registered = operation->registered;
}

// Posts up to a batch from the head of the pending list. False when the transport refused some of it.
bool Rail::PostBatch(uint64_t* budget) {
  std::array<Operation*, Lane::kBatchMax> operations;
  size_t count = 0;
  uint32_t framed = 0;
  uint64_t bytes = 0;
  while (count < Lane::kBatchMax && bytes < kBatchBytesMax && !pending_.empty() &&
         sent_.size() + count < kFramesInFlightMax) {
    const Operation* front = pending_.front();
    if (front->type == FrameType::kTile && front->payload_bytes > kTileBytesMax) CutTile();
    Operation* operation = PackPending();
    if (operation == nullptr) operation = pending_.PopFront();
    if (operation->way == Way::kFramed) {
      BuildRequest(operation, next_sequence_ + framed++, count);
      if (operation->type == FrameType::kTile || operation->type == FrameType::kEager)
        bytes += operation->payload_bytes;
    } else {
      BuildOneSided(*operation, next_one_sided_ + static_cast<uint32_t>(count) - framed, &lane_.batch()[count]);
    }
    operations[count++] = operation;
  }
  // Counted first: a peer may have all of it, and say so, before Post has returned.
  uint64_t payload_bytes = 0;
  uint64_t wire_bytes = 0;
  const auto count_bytes = [&](size_t i) {
    const Operation& operation = *operations[i];
    if (operation.way != Way::kFramed) {
      if (operation.way == Way::kPlaced) payload_bytes += operation.payload_bytes;
      return;
    }
    const uint64_t entry_bytes = !IsPack(operation.type) ? 0 : operation.words[0] * PackEntryBytes(operation.type);
    payload_bytes += lane_.batch()[i].payload_bytes - entry_bytes;
    wire_bytes += lane_.batch()[i].header_bytes + entry_bytes;
  };
  for (size_t i = 0; i < count; ++i) count_bytes(i);
  RailCounters::Add(counters_.payload_bytes_sent, payload_bytes);
  RailCounters::Add(counters_.wire_bytes_sent, wire_bytes + payload_bytes);
  const size_t taken = lane_.transport().Post(absl::MakeConstSpan(lane_.batch().data(), count));
  if (ABSL_PREDICT_FALSE(taken < count)) {
    payload_bytes = wire_bytes = 0;
    for (size_t i = taken; i < count; ++i) count_bytes(i);
    RailCounters::Add(counters_.payload_bytes_sent, -payload_bytes);
    RailCounters::Add(counters_.wire_bytes_sent, -(wire_bytes + payload_bytes));
  }
  const uint32_t first_sequence = next_sequence_;
  for (size_t i = 0; i < taken; ++i) {
    Operation* operation = operations[i];
    if (operation->way != Way::kFramed) {
      ++next_one_sided_;
      one_sided_.PushBack(operation);
      continue;
    }
    operation->sequence = next_sequence_++;
    if (operation->type == FrameType::kTile) bytes_in_flight_ += operation->payload_bytes;
    if (sent_.empty()) last_progress_ns_ = lane_.now_ns();
    sent_.PushBack(operation);
  }
  for (size_t i = count; i > taken; --i) {
    if (IsPack(operations[i - 1]->type)) {
      Unpack(operations[i - 1]);
    } else {
      pending_.PushFront(operations[i - 1]);
    }
  }
  if (next_sequence_ != first_sequence) {
    unacknowledged_ = 0;
    ack_waited_ = false;
    lane_.TickByOnLane(lane_.now_ns() + probe_after_ns_min_);
  }
  *budget -= std::min(*budget, bytes);
  return taken == count;
}

// Sends marked frames again, in their order and one by one: this is not a path that needs to be fast.
bool Rail::PostReplays() {
  for (Operation* operation = sent_.front(); operation != nullptr && replays_ > 0; operation = operation->next) {
    if (!operation->replay) continue;
    BuildRequest(operation, operation->sequence, 0);
    if (lane_.transport().Post(absl::MakeConstSpan(lane_.batch().data(), 1)) == 0) return false;
    operation->replay = false;
    --replays_;
    if (operation->type == FrameType::kTile) RailCounters::Add(counters_.retransmitted_tiles, 1);
    const WorkRequest& request = lane_.batch()[0];
    RailCounters::Add(counters_.wire_bytes_sent, request.header_bytes + request.payload_bytes);
  }
  return true;
}

void Rail::SendAckIfDue(bool about_to_block) {
  while (resend_wanted_ < damaged_count_) {
    const Damaged& damaged = damaged_[resend_wanted_];
    if (!PostAck(kFlagResend, uint64_t{damaged.times} << 32 | damaged.sequence, true)) return;
    resend_asked_ns_ = lane_.now_ns();
    ++resend_wanted_;
  }
  const bool at_once = ack_urgent_ || reply_wanted_ || unacknowledged_ >= kAckFramesMax;
  if (!at_once && unacknowledged_ == 0) return;
  if (!at_once && !about_to_block && !ack_waited_) {
    ack_waited_ = true;
    return;
  }
  if (!PostAck(0, 0, true)) return;
  ack_urgent_ = false;
  reply_wanted_ = false;
}

bool Rail::PostAck(uint8_t flags, uint64_t resend, bool may_overtake) {
  Frame frame;
  frame.type = FrameType::kAck;
  frame.flags = flags;
  frame.sequence = next_sequence_;
  frame.acknowledged = AcknowledgedByUs();
  frame.ack.credit = session_.CreditToReport(index_);
  frame.ack.resend = resend;
  std::byte header[kFrameHeaderBytesMax];
  WorkRequest request;
  request.may_overtake = may_overtake;
  request.connection = connection_;
  request.header = header;
  request.header_bytes = static_cast<uint32_t>(EncodeFrame(frame, header));
  if (lane_.transport().Post(absl::MakeConstSpan(&request, 1)) == 0) {
    refused_ = true;
    return false;
  }
  RailCounters::Add(counters_.wire_bytes_sent, request.header_bytes);
  unacknowledged_ = 0;
  ack_waited_ = false;
  return true;
}

void Rail::Acknowledge(uint32_t acknowledged) {
  if (sent_.empty() || !SequenceBefore(sent_.front()->sequence, acknowledged)) return;
  last_progress_ns_ = lane_.now_ns();
  // Completions may enqueue and post more, which goes behind these.
  while (!sent_.empty() && SequenceBefore(sent_.front()->sequence, acknowledged)) {
    Operation* operation = sent_.PopFront();
    if (operation->type == FrameType::kTile) bytes_in_flight_ -= operation->payload_bytes;
    if (operation->replay) --replays_;
    operation->replay = false;
    CompleteSent(operation, absl::OkStatus());
  }
  if (!pending_.empty()) lane_.MarkDirtyOnLane(this);
}

void Rail::CompleteSent(Operation* operation, const absl::Status& status) {
  if (IsPack(operation->type)) return FinishPack(operation, status);
  if (status.ok() && operation->region != nullptr && IsSmall(operation->type)) {
    return session_.FinishSmall(*this, operation);
  }
  session_.FinishOperation(*this, operation, status.ok() && operation->revoked ? Revoked() : status);
}

void Rail::RevokeOnLane(uint64_t key) {
  const auto writes_there = [key](const Operation& operation) {
    return operation.type == FrameType::kTile && operation.words[0] == key;
  };
  revoked_[revoked_next_++ % kRevokedMax] = key;
  while (Operation* operation = pending_.Remove(writes_there)) session_.FinishOperation(*this, operation, Revoked());
  for (Operation* operation = sent_.front(); operation != nullptr; operation = operation->next) {
    if (writes_there(*operation)) operation->revoked = true;
  }
}

// The copy that arrived damaged has arrived, and of each further one there is one request: so no two are ever on their
// way, and none lands, or is read from memory that is lent no longer, once one has been taken.
void Rail::Resend(uint32_t sequence, uint32_t times) {
  for (Operation* operation = sent_.front(); operation != nullptr; operation = operation->next) {
    if (operation->sequence != sequence || operation->replay) continue;
    if (times <= operation->resends) return;  // it came twice
    operation->resends = static_cast<uint8_t>(std::min(times, kResendsMax + 1u));
    if (operation->resends > kResendsMax) {
      session_.Fail(session_.Error(absl::StatusCode::kDataLoss, *this,
                                   absl::StrCat(FrameTypeName(operation->type), " frame ", sequence,
                                                " arrived damaged ", kResendsMax, " times")));
      return;
    }
    // What it carries may have changed since (exported memory that is in use): then its old hash would never hold.
    operation->payload_hashed = false;
    operation->replay = true;
    ++replays_;
    lane_.MarkDirtyOnLane(this);
    return;
  }
}

}  // namespace mcp::internal
