#include "transports/tcp/held_queue.h"

#include <cstring>
#include <new>

namespace mcp::internal {

HeldRecord* HeldQueue::Push(BlockPool* pool, const TcpFrame& frame) {
  constexpr uint32_t kAlignment = alignof(HeldRecord);
  const uint32_t record_bytes =
      (static_cast<uint32_t>(sizeof(HeldRecord)) + frame.body_bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (last_block_ == nullptr || last_block_->room() < record_bytes) {
    Block* block = pool->Acquire(record_bytes);
    (last_block_ == nullptr ? first_block_ : last_block_->next) = block;
    last_block_ = block;
  }
  HeldRecord* record = new (last_block_->bytes() + last_block_->used) HeldRecord();
  last_block_->used += record_bytes;
  bytes_ += record_bytes;
  record->body_bytes = frame.body_bytes;
  if (frame.body_bytes > 0) std::memcpy(record + 1, frame.body, frame.body_bytes);
  if (frame.type == TcpFrameType::kWrite) {
    record->state = frame.length > 0 ? HeldRecord::State::kExpected : HeldRecord::State::kLanded;
    record->key = frame.key;
    record->offset = frame.offset;
    record->length = frame.length;
  }
  if (record->state == HeldRecord::State::kExpected) {
    if (expected_ == nullptr) {
      expected_ = record;
    } else {
      last_write_->next_write = record;
    }
    last_write_ = record;
  }
  (back_ == nullptr ? front_ : back_->next) = record;
  back_ = record;
  return record;
}

void HeldQueue::Pop(Block** retired) {
  HeldRecord* next = front_->next;
  constexpr uint32_t kAlignment = alignof(HeldRecord);
  bytes_ -= (sizeof(HeldRecord) + front_->body_bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::byte* const begin = first_block_->bytes();
  const bool same_block = next != nullptr && reinterpret_cast<const std::byte*>(next) >= begin &&
                          reinterpret_cast<const std::byte*>(next) < begin + first_block_->used;
  front_ = next;
  if (next == nullptr) back_ = nullptr;
  if (same_block) return;
  Block* block = first_block_;
  first_block_ = block->next;
  if (first_block_ == nullptr) last_block_ = nullptr;
  block->next = *retired;
  *retired = block;
}

void HeldQueue::Clear(Block** retired) {
  if (first_block_ != nullptr) {
    last_block_->next = *retired;
    *retired = first_block_;
  }
  *this = HeldQueue();
}

}  // namespace mcp::internal
