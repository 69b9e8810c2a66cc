// Messages on their way out by the protocol that the context layer chose: bulk in fixed shares, or streamed.
#include <algorithm>
#include <utility>

#include "lib/session/session_impl.h"

namespace mcp::internal {

// Short ones go by the rails in turn, longer ones as the context layer says.
void SessionImpl::StartMatched(Operation* operation) {
  const uint64_t length = operation->payload_bytes;
  if (length < kStreamBytesMin) {
    Rail& carrier = NextCarrier(*operation->region, length);
    if (carrier.lane().OnThisLane()) {
      carrier.AddCarried(static_cast<int64_t>(length));  // until FinishOperation: it is no part of a transfer
      return carrier.EnqueueOnLane(operation);
    }
    return SubmitPart(carrier, MakeTransfer(home_lane_, operation));
  }
  if (!choice_.entered()) choice_.Enter(rail_count_, home().AskPathOnLane());
  const TransferChoice choice = choice_.Choose(length, home_lane_.clock().NowNs());
  const Part part = MakeTransfer(home_lane_, operation);
  part.transfer->choice = choice;
  part.transfer->rail_changes = rail_changes_.load(std::memory_order_relaxed);
  if (choice.protocol == Protocol::kStream) return StartStream(part);
  if (Spreads(home(), length)) return Spread(home(), part);
  SubmitPart(NextCarrier(*part.transfer->region, length), part);
}

void SessionImpl::StartStream(const Part& whole) {
  Stream* stream = home_lane_.streams().Get();
  const TransferPlan plan{.transfer = whole.transfer->id,
                          .bytes = whole.length,
                          .chunk_bytes = kStreamChunkBytes,
                          .window = kChunksMax,        // rails have windows of their own
                          .retry_ns = kProbeAfterNs};  // which the rail does
  stream->sender.Begin(plan, plan.chunks());
  stream->transfer = whole.transfer;
  stream->local = whole.local;
  stream->key = whole.remote.key;
  stream->window = whole.remote.window;
  stream->deadline_ns = whole.deadline_ns;
  stream->dealt = dealer_.Begin(whole.length, NextRailIndex(), home_lane_.now_ns());
  whole.transfer->stream = stream;
  streams_.push_back(stream);
  PumpStream(stream);
}

// One that is away is dealt nothing more while another is up.
RailMask SessionImpl::RailsForStreams() {
  RailMask up = 0;
  RailMask relied_on = 0;
  for (uint32_t i = 0; i < rail_count_; ++i) {
    if (rails_[i]->TakesWork()) up |= RailMask{1} << i;
    if (rails_[i]->relied_on()) relied_on |= RailMask{1} << i;
  }
  return up != 0 ? up : relied_on;
}

void SessionImpl::PumpStream(Stream* stream) {
  const int64_t now = home_lane_.now_ns();
  if (stream->deadline_ns != 0 && stream->deadline_ns <= now && stream->dealt.bytes_unsent > 0) {
    StopStream(stream, absl::StatusCode::kDeadlineExceeded);
  }
  stream->pumping = true;
  const RailMask rails = RailsForStreams();
  WorkItem item;
  for (auto piece = dealer_.Next(stream->dealt, rails); piece.has_value(); piece = dealer_.Next(stream->dealt, rails)) {
    if (!stream->sender.NextRun(now, static_cast<uint32_t>(piece->bytes / kStreamChunkBytes), &item)) break;
    dealer_.OnDealt(&stream->dealt, piece->rail, item.length, now);
    SubmitPart(*rails_[piece->rail], {stream->transfer,
                                      stream->local + item.offset,
                                      item.length,
                                      {stream->key, item.offset, stream->window},
                                      stream->deadline_ns});
  }
  stream->pumping = false;
  if (stream->transfer->bytes_left.load(std::memory_order_relaxed) == 0) FinishStream(stream);
}

// On the home lane: the peer has the piece, or it failed.
void SessionImpl::OnPieceDone(Rail& rail, Transfer* transfer, uint64_t offset, uint64_t bytes) {
  const int64_t now = home_lane_.now_ns();
  Stream* stream = transfer->stream;
  transfer->bytes_left.fetch_sub(bytes, std::memory_order_relaxed);
  const int failed = transfer->failed.load(std::memory_order_acquire);
  dealer_.OnBack(&stream->dealt, rail.index(), bytes, failed == 0, now);
  if (failed != 0) {
    StopStream(stream, static_cast<absl::StatusCode>(failed));
  } else {
    for (uint64_t end = offset + bytes; offset < end; offset += kStreamChunkBytes) {
      stream->sender.OnArrived(static_cast<uint32_t>(offset / kStreamChunkBytes), now);
    }
  }
  if (!stream->pumping) PumpStream(stream);
}

// Sends nothing more of it; it ends when what is on its way has come back.
void SessionImpl::StopStream(Stream* stream, absl::StatusCode code) {
  stream->transfer->Fail(code);
  stream->sender.Cancel();
  stream->transfer->bytes_left.fetch_sub(std::exchange(stream->dealt.bytes_unsent, 0), std::memory_order_relaxed);
}

// A stream of which every chunk was dealt out is its rails' to stop: what these have posted may be all of it, and then
// the receiver has it.
void SessionImpl::StopStreamOf(OperationId id) {
  for (Stream* stream : streams_) {
    if (stream->transfer->id != id) continue;
    if (stream->dealt.bytes_unsent > 0) StopStream(stream, absl::StatusCode::kCancelled);
    return;
  }
}

void SessionImpl::FinishStream(Stream* stream) {
  streams_.erase(std::find(streams_.begin(), streams_.end(), stream));
  Transfer* transfer = std::exchange(stream->transfer, nullptr);
  transfer->stream = nullptr;
  home_lane_.streams().Return(stream);
  FinishTransfer(home(), transfer);
}

}  // namespace mcp::internal
