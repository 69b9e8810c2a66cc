// The receiving side. Frames are parsed where the kernel put them and messages delivered from there; only what has to
// wait, for a write's payload or for its own rest, is copied. Payload of writes goes from the socket to its
// destination.
//
// The lengths, keys and offsets here are a peer's: nothing is used before ParseTcpFrame and RegionTable have checked
// it.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "transports/tcp/device.h"
#include "transports/tcp/kernel_order.h"

namespace mcp::internal {
namespace {

// A connection with so much waiting behind a write reads no further until that has gone.
constexpr uint64_t kHeldBytesMax = 1024 * 1024;
constexpr uint32_t kScratchBytes = 256 * 1024;
// A receive ends when all of it is there, and only then are its writes reported. Short ones are gathered, to save
// calls; one of this length is worth its own: over a slow path (500 Mb/s) a mebibyte of them told nothing for 17 ms.
constexpr uint64_t kLongWriteBytes = 128 * 1024;

}  // namespace

void TcpTransport::HandleControlReceived(Connection& connection, const OperationResult& result) {
  AfterReceive(connection);
  if (!result.more) connection.control.receiving = false;
  if (result.result > 0) {
    if (connection.state != Connection::State::kOpen || connection.refused) {
      reactor_->ReturnBuffer(result.buffer);
    } else {
      AppendChunk(connection, result.buffer, static_cast<uint32_t>(result.result));
      MarkReady(connection);
    }
  }
  if (connection.state != Connection::State::kOpen) return FinishCloseWhenIdle(connection);
  if (result.more) return;
  if (result.result == -ECANCELED || result.result > 0) return PauseOrResume(connection);
  // What has come before the end is delivered first.
  connection.reading_ended = true;
  if (connection.end.ok()) {
    connection.end =
        result.result == 0
            ? absl::UnavailableError(absl::StrCat("tcp: ", FormatAddress(connection.remote), " closed the connection"))
            : ErrnoStatus(-result.result, absl::StrCat("tcp: receive from ", FormatAddress(connection.remote)));
  }
  MarkReady(connection);
}

void TcpTransport::AppendChunk(Connection& connection, uint16_t buffer, uint32_t bytes) {
  chunks_[buffer] = {.position = 0, .end = bytes, .next = kNoChunk};
  if (connection.first_chunk == kNoChunk) {
    connection.first_chunk = buffer;
  } else {
    chunks_[connection.last_chunk].next = buffer;
  }
  connection.last_chunk = buffer;
}

bool TcpTransport::Deliver(Connection& connection) {
  // The session does not know the connection before its kConnected.
  if (ABSL_PREDICT_FALSE(connection.connecting != nullptr)) return true;
  if (!connection.held.empty() && !DeliverHeld(connection)) return false;
  while (connection.first_chunk != kNoChunk) {
    if (!ParseChunk(connection)) return connection.state != Connection::State::kOpen;
  }
  StartPayload(connection);
  // A write of no bytes, or to memory that was taken back, may have become deliverable.
  if (!connection.held.empty() && !DeliverHeld(connection)) return false;
  PauseOrResume(connection);
  if (connection.reading_ended && connection.held.empty() && connection.state == Connection::State::kOpen &&
      !connection.refused) {
    BeginClose(connection, std::move(connection.end));
  }
  return true;
}

// From the front, up to the first write that has not landed. False: the events are full.
bool TcpTransport::DeliverHeld(Connection& connection) {
  while (!connection.held.empty()) {
    const HeldRecord& record = *connection.held.front();
    if (record.state == HeldRecord::State::kExpected) return true;
    Event* event = NextEvent(Event::Kind::kMessage, connection);
    if (event == nullptr) return false;
    event->data = record.body();
    event->data_bytes = record.body_bytes;
    switch (record.state) {
      case HeldRecord::State::kLanded:
        event->write = Event::Write::kLanded;
        break;
      case HeldRecord::State::kStale:
        event->write = Event::Write::kStale;
        break;
      case HeldRecord::State::kRefused:
        event->write = Event::Write::kRefused;
        event->status = regions_->DescribeRefusal(record.key, record.offset, record.length, kAccessRemoteWrite);
        break;
      default:
        break;
    }
    connection.held.Pop(&delivered_blocks_);
  }
  return true;
}

// False: the events are full, or the connection is closing.
bool TcpTransport::ParseChunk(Connection& connection) {
  const uint16_t buffer = connection.first_chunk;
  Chunk& chunk = chunks_[buffer];
  if (connection.partial != nullptr && !ParsePartial(connection, chunk)) return false;
  const std::byte* const base = reactor_->buffer(buffer);
  while (chunk.position < chunk.end && !connection.refused) {
    const std::byte* const bytes = base + chunk.position;
    const uint32_t available = chunk.end - chunk.position;
    TcpFrame frame;
    size_t frame_bytes = 0;
    const TcpParse parse = ParseTcpFrame(bytes, available, &frame, &frame_bytes);
    if (ABSL_PREDICT_FALSE(parse == TcpParse::kBad)) {
      BeginClose(connection, DescribeBadTcpFrame(bytes, available));
      return false;
    }
    if (parse == TcpParse::kNeedMore) {
      KeepPartial(connection, bytes, available, frame_bytes);
      break;
    }
    if (!TakeFrame(connection, frame)) return false;
    chunk.position += static_cast<uint32_t>(frame_bytes);
  }
  if (connection.first_chunk == kNoChunk) return true;  // dropped meanwhile
  connection.first_chunk = chunk.next;
  delivered_buffers_.push_back(buffer);
  return true;
}

void TcpTransport::KeepPartial(Connection& connection, const std::byte* bytes, uint32_t count, size_t needed) {
  connection.partial = blocks_.Acquire(static_cast<uint32_t>(needed));
  connection.partial_bytes = static_cast<uint32_t>(needed);
  std::memcpy(connection.partial->bytes(), bytes, count);
  connection.partial->used = count;
}

// Completes the frame that began in an earlier chunk. False: the events are full, or the connection is closing.
bool TcpTransport::ParsePartial(Connection& connection, Chunk& chunk) {
  const std::byte* const base = reactor_->buffer(connection.first_chunk);
  for (;;) {
    Block* partial = connection.partial;
    const uint32_t missing = connection.partial_bytes - partial->used;
    const uint32_t taken = std::min(missing, chunk.end - chunk.position);
    std::memcpy(partial->bytes() + partial->used, base + chunk.position, taken);
    partial->used += taken;
    chunk.position += taken;
    if (taken < missing) return true;
    TcpFrame frame;
    size_t frame_bytes = 0;
    const TcpParse parse = ParseTcpFrame(partial->bytes(), partial->used, &frame, &frame_bytes);
    if (parse == TcpParse::kBad) {
      BeginClose(connection, DescribeBadTcpFrame(partial->bytes(), partial->used));
      return false;
    }
    if (parse == TcpParse::kNeedMore) {
      // Its prefix is whole now and says how long it is.
      if (partial->capacity < frame_bytes) {
        KeepPartial(connection, partial->bytes(), partial->used, frame_bytes);
        blocks_.Release(partial);
      }
      connection.partial_bytes = static_cast<uint32_t>(frame_bytes);
      continue;
    }
    if (!TakeFrame(connection, frame)) return false;
    partial->next = delivered_blocks_;
    delivered_blocks_ = partial;
    connection.partial = nullptr;
    return true;
  }
}

// False: the events are full and the frame was not taken, or the connection is closing.
bool TcpTransport::TakeFrame(Connection& connection, const TcpFrame& frame) {
  if (ABSL_PREDICT_TRUE(frame.type == TcpFrameType::kMessage)) {
    if (connection.held.empty() || (frame.flags & kTcpFlagMayOvertake) != 0) {
      Event* event = NextEvent(Event::Kind::kMessage, connection);
      if (ABSL_PREDICT_FALSE(event == nullptr)) return false;
      event->data = frame.body;
      event->data_bytes = frame.body_bytes;
    } else {
      connection.held.Push(&blocks_, frame);
    }
    return true;
  }
  if (frame.type == TcpFrameType::kWrite) {
    TakeWrite(connection, frame);
    return true;
  }
  connection.end = ParseTcpGoodbye({frame.body, frame.body_bytes});
  return true;
}

void TcpTransport::TakeWrite(Connection& connection, const TcpFrame& frame) {
  HeldRecord* const record = connection.held.Push(&blocks_, frame);
  const Resolved resolved = regions_->Resolve(frame.key, frame.offset, frame.length, kAccessRemoteWrite);
  if (ABSL_PREDICT_FALSE(resolved.outcome == Resolved::Outcome::kRefused)) {
    // Delivered in its turn. Its payload is never read, nor anything behind it.
    record->state = HeldRecord::State::kRefused;
    connection.refused = true;
    StopReading(connection);
  } else if (frame.length == 0 && resolved.outcome == Resolved::Outcome::kStale) {
    record->state = HeldRecord::State::kStale;
  }
}

void TcpTransport::StopReading(Connection& connection) {
  connection.reading_ended = true;
  if (connection.control.receiving) reactor_->Cancel(connection.control.id, IoOperation::kReceive);
}

// Back-pressure on the peer while too much waits here, and its end.
void TcpTransport::PauseOrResume(Connection& connection) {
  if (connection.state != Connection::State::kOpen || connection.reading_ended) return;
  const bool pause = connection.held.bytes() > (connection.paused ? 0 : kHeldBytesMax);
  if (pause && !connection.paused && connection.control.receiving) {
    reactor_->Cancel(connection.control.id, IoOperation::kReceive);
  }
  connection.paused = pause;
  if (!pause && !connection.control.receiving) {
    connection.control.receiving = true;
    reactor_->StartStream(connection.control.id);
  }
}

// One receive for the payload of the next expected writes: a long one, or several short ones.
void TcpTransport::StartPayload(Connection& connection) {
  if (connection.data.receiving || connection.state != Connection::State::kOpen) return;
  uint32_t count = 0;
  uint32_t records = 0;
  uint64_t room = kGatherBytesMax;
  bool pinned = false;
  for (HeldRecord* record = connection.held.expected(); record != nullptr; record = record->next_write) {
    if (record->state == HeldRecord::State::kRefused || count == kGatherPartsMax || room == 0) break;
    if (count > 0 && record->length >= kLongWriteBytes) break;
    if (connection.receive_batch == nullptr) connection.receive_batch = receive_batches_.Acquire();
    iovec* const parts = connection.receive_batch->parts;
    ++records;
    const Resolved resolved = regions_->Resolve(record->key, record->offset, record->length, kAccessRemoteWrite);
    uint64_t left = record->length - record->received;
    if (resolved.outcome == Resolved::Outcome::kOk && regions_->TryPin(resolved.slot, record->key)) {
      left = std::min(left, room);
      record->slot = resolved.slot;
      record->pinned = pinned = true;
      parts[count++] = {resolved.address + record->received, left};
      room -= left;
      if (record->length >= kLongWriteBytes) break;
      continue;
    }
    // Taken back: what it was for is discarded.
    record->stale = true;
    if (scratch_ == nullptr) scratch_.reset(new std::byte[kScratchBytes]);
    for (; left > 0 && count < kGatherPartsMax && room > 0; ++count) {
      const uint64_t bytes = std::min<uint64_t>({left, room, kScratchBytes});
      parts[count] = {scratch_.get(), bytes};
      left -= bytes;
      room -= bytes;
    }
    if (left > 0) break;
  }
  if (count == 0) return;
  msghdr& message = connection.receive_batch->message;
  connection.receive_batch->records = records;
  message = {};
  message.msg_iov = connection.receive_batch->parts;
  message.msg_iovlen = count;
  connection.data.receiving = true;
  if (pinned) receiving_payload_.push_back(connection.id);
  reactor_->Receive(connection.data.id, &message);
}

void TcpTransport::HandlePayload(Connection& connection, const OperationResult& result) {
  AfterReceive(connection);
  connection.data.receiving = false;
  const auto listed = std::find(receiving_payload_.begin(), receiving_payload_.end(), connection.id);
  if (listed != receiving_payload_.end()) {
    *listed = receiving_payload_.back();
    receiving_payload_.pop_back();
  }
  uint64_t bytes = static_cast<uint64_t>(std::max(result.result, 0));
  HeldRecord* record = connection.held.expected();
  for (uint32_t i = 0; i < connection.receive_batch->records; ++i, record = record->next_write) {
    if (record->pinned) regions_->Unpin(record->slot);
    record->pinned = false;
    const uint64_t taken = std::min(bytes, record->length - record->received);
    record->received += taken;
    bytes -= taken;
    if (record->received < record->length) continue;
    record->state = record->stale ? HeldRecord::State::kStale : HeldRecord::State::kLanded;
    connection.held.FinishExpected();
  }
  if (connection.state != Connection::State::kOpen) return FinishCloseWhenIdle(connection);
  if (result.result <= 0 && result.result != -ECANCELED) {
    return BeginClose(connection, !connection.end.ok() ? std::move(connection.end)
                                  : result.result == 0
                                      ? absl::UnavailableError(absl::StrCat("tcp: ", FormatAddress(connection.remote),
                                                                            " closed the connection within a write"))
                                      : ErrnoStatus(-result.result, "tcp: receive payload"));
  }
  if (connection.held.expected() == nullptr) {
    receive_batches_.Release(std::exchange(connection.receive_batch, nullptr));
  } else {
    StartPayload(connection);
  }
  MarkReady(connection);
}

// Keys were taken back: receives that still go to their memory are stopped. What they have not received by then is
// discarded when the rest is asked for.
void TcpTransport::WithdrawPins() {
  invalidations_seen_ = regions_->invalidations();
  for (const ConnectionId id : receiving_payload_) {
    Connection& connection = *connections_[id];
    if (!connection.data.receiving) continue;
    for (const HeldRecord* record = connection.held.expected(); record != nullptr; record = record->next_write) {
      if (!record->pinned) continue;
      if (regions_->Valid(record->slot, record->key)) continue;
      reactor_->Cancel(connection.data.id, IoOperation::kReceive);
      break;
    }
  }
}

}  // namespace mcp::internal
