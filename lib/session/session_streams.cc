// Messages on their way out by the protocol that the context layer chose: bulk in fixed shares, or streamed.
#include <algorithm>
#include <utility>

#include "lib/session/session_impl.h"

namespace mcp::internal {

// Short ones go by the rails in turn, longer ones as the context layer says.
void SessionImpl::StartMatched(Operation* operation) {
  const uint64_t length = operation->payload_bytes;
  if (length < kStreamBytesMin) {
    Rail& carrier = NextCarrier();
    if (carrier.lane().OnThisLane()) return StartWrite(carrier, operation);
    return SubmitPart(carrier, MakeTransfer(home_lane_, operation));
  }
  if (!choice_.entered()) choice_.Enter(rail_count_, home().AskPathOnLane());
  const TransferChoice choice = choice_.Choose(length, home_lane_.clock().NowNs());
  const Part part = MakeTransfer(home_lane_, operation);
  part.transfer->choice = choice;
  part.transfer->losses = losses_.load(std::memory_order_relaxed);
  if (choice.protocol == Protocol::kStream) return StartStream(part);
  if (Spreads(home(), length)) return Spread(home(), part);
  SubmitPart(NextCarrier(), part);
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
  stream->bytes_unsent = whole.length;
  // A part of each long message is left to be dealt by what the rails do with the first of it: they may not be as fast
  // as they were. With half a share a rail, fast links waited for what comes next (8 MiB: 1.26 of bulk's time,
  // not 1.0).
  stream->held_bytes_max = std::max(RailPace::kHeldBytesFirst, whole.length / rail_count_ / 4 * 3);
  stream->bytes_held.fill(0);
  stream->first_rail = NextRailIndex();
  whole.transfer->stream = stream;
  streams_.push_back(stream);
  PumpStream(stream);
}

// The rail that will have done its share of this stream first; null when all hold what they should. One that is away is
// dealt nothing more while another is up.
Rail* SessionImpl::RailWithRoom(const Stream& stream) {
  const auto room = [&](const Rail& rail) {
    return std::min(paces_[rail.index()].held_bytes(), stream.held_bytes_max);
  };
  Rail* best = nullptr;
  const auto better = [&](const Rail& rail) {
    if (best == nullptr) return true;
    if (rail.up() != best->up()) return rail.up();
    return stream.bytes_held[rail.index()] * room(*best) < stream.bytes_held[best->index()] * room(rail);
  };
  for (uint32_t i = 0; i < rail_count_; ++i) {
    Rail& rail = *rails_[(stream.first_rail + i) % rail_count_];
    if (better(rail)) best = &rail;
  }
  return stream.bytes_held[best->index()] >= room(*best) ? nullptr : best;
}

// In chunks: what suits the rail, but towards the end no more than its share, so that all have something to do.
uint32_t SessionImpl::PieceOf(const Stream& stream, const Rail& rail) const {
  const RailPace& pace = paces_[rail.index()];
  const uint64_t share = std::max(stream.bytes_unsent / rail_count_, pace.piece_bytes() / 4);
  const uint64_t bytes = std::min(pace.piece_bytes(), share);
  return static_cast<uint32_t>(std::max<uint64_t>(1, bytes / kStreamChunkBytes));
}

void SessionImpl::PumpStream(Stream* stream) {
  const int64_t now = home_lane_.now_ns();
  if (stream->deadline_ns != 0 && stream->deadline_ns <= now && stream->bytes_unsent > 0) {
    StopStream(stream, absl::StatusCode::kDeadlineExceeded);
  }
  stream->pumping = true;
  WorkItem item;
  for (Rail* rail = RailWithRoom(*stream);
       rail != nullptr && stream->sender.NextRun(now, PieceOf(*stream, *rail), &item); rail = RailWithRoom(*stream)) {
    stream->bytes_unsent -= item.length;
    stream->bytes_held[rail->index()] += item.length;
    paces_[rail->index()].OnDealt(item.length, now);
    SubmitPart(*rail, {stream->transfer,
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
  stream->bytes_held[rail.index()] -= bytes;
  transfer->bytes_left.fetch_sub(bytes, std::memory_order_relaxed);
  const int failed = transfer->failed.load(std::memory_order_acquire);
  paces_[rail.index()].OnBack(bytes, failed == 0, now);
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
  stream->transfer->bytes_left.fetch_sub(std::exchange(stream->bytes_unsent, 0), std::memory_order_relaxed);
}

// A stream of which every chunk was dealt out is its rails' to stop: what these have posted may be all of it, and then
// the receiver has it.
void SessionImpl::StopStreamOf(OperationId id) {
  for (Stream* stream : streams_) {
    if (stream->transfer->id != id) continue;
    if (stream->bytes_unsent > 0) StopStream(stream, absl::StatusCode::kCancelled);
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
