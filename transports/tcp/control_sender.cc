#include "transports/tcp/control_sender.h"

#include <cstring>
#include <utility>

#include "absl/base/optimization.h"
#include "lib/base/assert.h"

namespace mcp::internal {
namespace {

void EncodeFrame(const WorkRequest& work, uint64_t copied_bytes, std::byte* to) {
  const bool write = work.kind == WorkRequest::Kind::kWrite;
  const uint64_t body_bytes = write ? kTcpWriteFieldsBytes + work.header_bytes : work.header_bytes + work.payload_bytes;
  EncodeTcpFramePrefix(write ? TcpFrameType::kWrite : TcpFrameType::kMessage,
                       work.may_overtake ? kTcpFlagMayOvertake : 0, static_cast<uint32_t>(body_bytes), to);
  to += kTcpFramePrefixBytes;
  if (write) {
    EncodeTcpWriteFields(work.key, work.offset, work.payload_bytes, to);
    to += kTcpWriteFieldsBytes;
  }
  if (work.header_bytes > 0) std::memcpy(to, work.header, work.header_bytes);
  if (copied_bytes > 0) std::memcpy(to + work.header_bytes, work.payload, copied_bytes);
}

}  // namespace

void AdvanceGather(msghdr* message, size_t bytes) {
  while (bytes > 0) {
    iovec& part = *message->msg_iov;
    if (bytes < part.iov_len) {
      part.iov_base = static_cast<std::byte*>(part.iov_base) + bytes;
      part.iov_len -= bytes;
      return;
    }
    bytes -= part.iov_len;
    ++message->msg_iov;
    --message->msg_iovlen;
  }
}

bool ControlSender::Append(const SendPools& pools, const WorkRequest& work) {
  const bool write = work.kind == WorkRequest::Kind::kWrite;
  const uint64_t copied_bytes = !write && work.payload_bytes <= kCopyBytesMax ? work.payload_bytes : 0;
  const bool gather = !write && copied_bytes != work.payload_bytes;
  const uint32_t staged_bytes = static_cast<uint32_t>(kTcpFramePrefixBytes + (write ? kTcpWriteFieldsBytes : 0) +
                                                      work.header_bytes + copied_bytes);

  SendBatch* batch = staged_;
  if (ABSL_PREDICT_FALSE(batch == nullptr)) {
    batch = staged_ = pools.batches->Acquire();
    batch->head = batch->tail = nullptr;
    batch->bytes = batch->count = 0;
    batch->signaled.clear();
  } else if (batch->bytes >= kBatchBytesMax || batch->count + 2 > kBatchPartsMax) {
    return false;
  }
  Block* block = batch->tail;
  if (block == nullptr || block->room() < staged_bytes) {
    block = pools.blocks->Acquire(staged_bytes);
    (batch->tail == nullptr ? batch->head : batch->tail->next) = block;
    batch->tail = block;
  }
  std::byte* to = block->bytes() + block->used;
  EncodeFrame(work, copied_bytes, to);
  // Frames that lie one behind the other are one part.
  if (block->used > 0 &&
      static_cast<std::byte*>(batch->parts[batch->count - 1].iov_base) + batch->parts[batch->count - 1].iov_len == to) {
    batch->parts[batch->count - 1].iov_len += staged_bytes;
  } else {
    batch->parts[batch->count++] = {to, staged_bytes};
  }
  block->used += staged_bytes;
  batch->bytes += staged_bytes;
  if (gather) {
    batch->parts[batch->count++] = {const_cast<std::byte*>(work.payload), work.payload_bytes};
    batch->bytes += static_cast<uint32_t>(work.payload_bytes);
    if (work.signaled) batch->signaled.push_back(work.work_id);
  }
  return true;
}

msghdr* ControlSender::Begin() {
  MCP_ASSERT(staged_ != nullptr && sending_ == nullptr);
  sending_ = std::exchange(staged_, nullptr);
  sending_->message = {};
  sending_->message.msg_iov = sending_->parts;
  sending_->message.msg_iovlen = sending_->count;
  return &sending_->message;
}

bool ControlSender::Advance(uint32_t bytes) {
  MCP_ASSERT(bytes <= sending_->bytes);
  sending_->bytes -= bytes;
  if (sending_->bytes == 0) return true;
  AdvanceGather(&sending_->message, bytes);
  return false;
}

void ControlSender::Return(const SendPools& pools, SendBatch* batch) {
  pools.blocks->ReleaseChain(batch->head);
  pools.batches->Release(batch);
}

void ControlSender::Finish(const SendPools& pools) { Return(pools, std::exchange(sending_, nullptr)); }

void ControlSender::Clear(const SendPools& pools) {
  if (sending_ != nullptr) Return(pools, std::exchange(sending_, nullptr));
  if (staged_ != nullptr) Return(pools, std::exchange(staged_, nullptr));
}

uint64_t ControlSender::memory_bytes() const {
  uint64_t bytes = 0;
  for (const SendBatch* batch : {staged_, sending_}) {
    if (batch == nullptr) continue;
    bytes += sizeof(SendBatch);
    for (const Block* block = batch->head; block != nullptr; block = block->next)
      bytes += sizeof(Block) + block->capacity;
  }
  return bytes;
}

}  // namespace mcp::internal
