// The receiving half of a rail: frames are checked, put in order, and handed to the session.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/session/rail.h"
#include "lib/session/session_impl.h"
#include "lib/wire/checksum.h"

namespace mcp::internal {
namespace {

// Frames in a row of one connection that may arrive with a whole header and damaged payload before the session is
// given up.
constexpr uint32_t kDamagedPayloadsMax = 1024;

}  // namespace

void Rail::OnMessage(const Event& event) {
  if (state_ != State::kUp) return;
  last_heard_ns_ = lane_.now_ns();
  if (ABSL_PREDICT_FALSE(!up())) Appear();
  const absl::Span<const std::byte> bytes(event.data, event.data_bytes);
  Frame frame;
  size_t header_bytes = 0;
  const FrameFault fault = DecodeFrame(bytes, &frame, &header_bytes);
  if (fault == FrameFault::kDamaged) return OnDamagedHeader();
  if (fault == FrameFault::kViolation) return session_.FailViolation(*this, DescribeViolation(bytes).message());
  if (SequenceBefore(next_sequence_, frame.acknowledged)) {
    return session_.FailViolation(*this, absl::StrCat(FrameTypeName(frame.type), " frame: acknowledged ",
                                                      frame.acknowledged, " is beyond ", next_sequence_, " sent"));
  }
  Acknowledge(frame.acknowledged);
  if (!IsSequenced(frame.type)) return OnAckFrame(frame);
  switch (TakeSequence(frame.sequence)) {
    case Take::kDuplicate:
      ++unacknowledged_;
      return lane_.MarkDirtyOnLane(this);
    case Take::kGap:
      if (frame.sequence - expected_ > kFramesInFlightMax) {
        return session_.FailViolation(
            *this, absl::StrCat(FrameTypeName(frame.type), " frame: sequence ", frame.sequence, " is more than ",
                                kFramesInFlightMax, " after ", expected_));
      }
      return DropForGap();
    case Take::kFrame:
      return OnSequenced(frame, event, header_bytes);
  }
}

void Rail::OnDamagedHeader() {
  RailCounters::Add(counters_.checksum_failures, 1);
  DropForGap();
}

// What is missing comes with the next connection, after whose making nothing of this one can land. Sent again by this
// one, it would land where its first copy, still on its way or taken long ago, has: on whatever came there since.
void Rail::DropForGap() {
  // What has ended at a frame took none behind it either, and its connection still has to say so.
  if (!session_.ended()) Drop(absl::UnavailableError("a frame went missing"));
}

void Rail::OnAckFrame(const Frame& frame) {
  if ((frame.flags & kFlagLeaving) != 0) session_.OnPeerLeaves();
  session_.OnCredit(*this, frame.ack.credit);
  if ((frame.flags & kFlagResend) != 0) {
    Resend(static_cast<uint32_t>(frame.ack.resend), static_cast<uint32_t>(frame.ack.resend >> 32));
  }
  if ((frame.flags & kFlagReplyWanted) != 0) {
    reply_wanted_ = true;
    lane_.MarkDirtyOnLane(this);
  }
  if ((frame.flags & kFlagProbe) != 0) {
    // What was asked for just now may be on its way.
    const bool resend_lost = resend_wanted_ > 0 && lane_.now_ns() - resend_asked_ns_ >= kProbeAfterNs;
    if (SequenceBefore(expected_, frame.sequence) || resend_lost) return DropForGap();
    reply_wanted_ = true;
    lane_.MarkDirtyOnLane(this);
  }
}

// The end of those that are known where it is none of them.
Rail::Damaged* Rail::FindDamaged(uint32_t sequence) {
  return std::find_if(damaged_.data(), damaged_.data() + damaged_count_,
                      [sequence](const Damaged& damaged) { return damaged.sequence == sequence; });
}

Rail::Take Rail::TakeSequence(uint32_t sequence) {
  if (sequence == expected_) return Take::kFrame;
  if (!SequenceBefore(sequence, expected_)) return Take::kGap;
  return FindDamaged(sequence) == damaged_.data() + damaged_count_ ? Take::kDuplicate : Take::kFrame;
}

void Rail::Advance(uint32_t sequence) {
  if (sequence == expected_) {
    ++expected_;
  } else {
    Damaged* const found = FindDamaged(sequence);
    if (found < damaged_.data() + resend_wanted_) --resend_wanted_;
    std::move(found + 1, damaged_.data() + damaged_count_, found);
    --damaged_count_;
  }
  damaged_payloads_ = 0;
  ++unacknowledged_;
  lane_.MarkDirtyOnLane(this);
}

// The frame was there but its payload was not whole: ask for that one again.
void Rail::MarkDamaged(const Frame& frame, uint64_t payload_bytes) {
  const uint32_t sequence = frame.sequence;
  RailCounters::Add(counters_.checksum_failures, 1);
  if (++damaged_payloads_ > kDamagedPayloadsMax) {
    return session_.Fail(
        session_.Error(absl::StatusCode::kDataLoss, *this,
                       absl::StrCat(damaged_payloads_, " frames in a row arrived with damaged payload, the last a ",
                                    FrameTypeName(frame.type), " frame: payload_bytes ", frame.payload_bytes, ", and ",
                                    payload_bytes, " came")));
  }
  if (sequence == expected_) {
    if (damaged_count_ == kDamagedMax) return DropForGap();
    damaged_[damaged_count_++] = {sequence, 1};
    ++expected_;
  } else {
    // Damaged once more: report it once more.
    Damaged* const found = FindDamaged(sequence);
    if (found < damaged_.data() + resend_wanted_) --resend_wanted_;
    ++found->times;
    std::rotate(found, found + 1, damaged_.data() + damaged_count_);
  }
  lane_.MarkDirtyOnLane(this);
}

uint32_t Rail::AcknowledgedByUs() const {
  uint32_t acknowledged = expected_;
  for (size_t i = 0; i < damaged_count_; ++i) {
    if (SequenceBefore(damaged_[i].sequence, acknowledged)) acknowledged = damaged_[i].sequence;
  }
  return acknowledged;
}

bool Rail::PayloadHolds(const Frame& frame, const std::byte* payload, uint64_t size) {
  if (size != frame.payload_bytes) return false;
  return (frame.flags & kFlagPayloadChecked) == 0 || Checksum(payload, size) == frame.payload_checksum;
}

void Rail::OnSequenced(const Frame& frame, const Event& event, size_t header_bytes) {
  if (event.write == Event::Write::kRefused) return session_.FailViolation(*this, event.status.message());
  if ((frame.type == FrameType::kTile) != (event.write != Event::Write::kNone)) {
    return session_.FailViolation(*this, absl::StrCat(FrameTypeName(frame.type), " frame came ",
                                                      frame.type == FrameType::kTile ? "without" : "with", " a write"));
  }
  const std::byte* payload = event.data + header_bytes;
  const uint64_t payload_bytes = event.data_bytes - header_bytes;
  switch (frame.type) {
    case FrameType::kPut:
      if (!PayloadHolds(frame, payload, payload_bytes)) return MarkDamaged(frame, payload_bytes);
      if (!session_.OnPut(*this, frame, payload)) return;
      break;
    case FrameType::kPuts:
      if (!PayloadHolds(frame, payload, payload_bytes)) return MarkDamaged(frame, payload_bytes);
      if (session_.OnPuts(*this, frame, payload)) Advance(frame.sequence);
      return;
    case FrameType::kTile:
      if (!OnTile(frame, event)) return;
      break;
    case FrameType::kHedged:
      if (!PayloadHolds(frame, payload, payload_bytes)) return MarkDamaged(frame, payload_bytes);
      if (!session_.OnHedged(*this, frame, payload)) return;
      break;
    case FrameType::kEager:
    case FrameType::kMessages:
    case FrameType::kClose:
      // In order or not at all: matching and closing depend on it.
      if (frame.sequence != expected_ || !PayloadHolds(frame, payload, payload_bytes)) {
        RailCounters::Add(counters_.checksum_failures, 1);
        return DropForGap();
      }
      Advance(frame.sequence);
      return session_.OnOrdered(*this, frame, payload);
    default:
      Advance(frame.sequence);
      return session_.OnOrdered(*this, frame, nullptr);
  }
  RailCounters::Add(counters_.payload_bytes_received, frame.payload_bytes);
  Advance(frame.sequence);
}

// Verifies what the transport has placed, while it is in the cache. False if the frame is not to be taken.
bool Rail::OnTile(const Frame& frame, const Event& event) {
  const Resolved resolved =
      lane_.regions().Resolve(frame.put.key, frame.put.offset, frame.payload_bytes, kAccessRemoteWrite);
  if (resolved.outcome == Resolved::Outcome::kStale) return session_.OnStale(*this, frame);
  if (resolved.outcome == Resolved::Outcome::kRefused) {
    session_.FailViolation(
        *this, lane_.regions()
                   .DescribeRefusal(frame.put.key, frame.put.offset, frame.payload_bytes, kAccessRemoteWrite)
                   .message());
    return false;
  }
  if (event.write == Event::Write::kStale) return true;
  if (resolved.owner == nullptr) {
    if (PayloadHolds(frame, resolved.address, frame.payload_bytes)) return true;
    MarkDamaged(frame, frame.payload_bytes);
    return false;
  }
  if (!lane_.regions().TryPin(resolved.slot, frame.put.key)) return true;
  const bool holds = PayloadHolds(frame, resolved.address, frame.payload_bytes);
  if (!holds) {
    lane_.regions().Unpin(resolved.slot);
    MarkDamaged(frame, frame.payload_bytes);
    return false;
  }
  return session_.OnLanded(*this, static_cast<Landing*>(resolved.owner), resolved.slot, frame.put.key, frame.put.offset,
                           frame.payload_bytes);
}

}  // namespace mcp::internal
