// Small operations that wait together leave together: one frame, sequence number, checksum and acknowledgement for as
// many as a buffer holds. Nothing waits to be packed: what a flush finds pending is packed, and one operation alone
// goes as the frame it always was. A burst is posted frame by frame while its operations are in the cache.
//
// Budget of a packed put: its fields and payload are copied once, into the buffer, and hashed there.
#include <utility>

#include "lib/session/rail.h"
#include "lib/session/session_impl.h"
#include "lib/wire/pack.h"

namespace mcp::internal {
namespace {

// From here on an operation's own frame costs little beside its payload, and the second copy does not.
constexpr uint64_t kPackedBytesMax = 1024;
// Buffers that one rail holds for its peer's acknowledgement: 1 MiB.
constexpr uint32_t kPacksMax = 128;

}  // namespace

// Before `next` joins what is pending: with it there would be more than a frame holds. Where the last post left
// something behind, the round decides.
void Rail::PostIfPackFull(const Operation& next) {
  const uint64_t bytes = PackEntryBytes(PackOf(next.type)) + next.payload_bytes;
  if (bytes > session_.pack_bytes_max() || next.payload_bytes > kPackedBytesMax) return;
  if (unpacked_bytes_ + bytes > session_.pack_bytes_max() && !refused_ && !backlog_) PostPending();
  unpacked_bytes_ += bytes;
}

Operation* Rail::PackPending() {
  Operation* const first = pending_.front();
  const FrameType type = first->type;
  const FrameType pack_type = PackOf(type);
  const uint64_t entry_bytes = PackEntryBytes(pack_type);
  const auto fits = [type, entry_bytes](const Operation* operation, uint64_t room) {
    return operation != nullptr && operation->type == type && operation->payload_bytes <= kPackedBytesMax &&
           entry_bytes + operation->payload_bytes <= room;
  };
  uint64_t room = session_.pack_bytes_max();
  if (!IsSmall(type) || !fits(first, room) || packs_ == kPacksMax) return nullptr;
  if (!fits(first->next, room - entry_bytes - first->payload_bytes)) return nullptr;

  Operation* const pack = NewFrame(pack_type);
  pack->pack = lane_.pack_buffers().Get();
  pack->payload = pack->pack->bytes;
  std::byte* end = pack->pack->bytes;
  Operation** link = &pack->packed;
  uint64_t count = 0;
  while (fits(pending_.front(), room)) {
    Operation* operation = pending_.PopFront();
    if (!pending_.empty()) Operation::Prefetch(pending_.front()->next);
    end = EncodePackEntry(
        pack_type, {{operation->words[0], operation->words[1]}, operation->payload, operation->payload_bytes}, end);
    room -= entry_bytes + operation->payload_bytes;
    *link = operation;
    link = &operation->next;
    ++count;
  }
  *link = nullptr;
  pack->words[0] = count;
  pack->payload_bytes = static_cast<uint64_t>(end - pack->pack->bytes);
  ++packs_;
  packed_ += static_cast<uint32_t>(count);
  return pack;
}

// Gives the pack's buffer back, and the pack; returns the operations that were in it.
Operation* Rail::DissolvePack(Operation* pack) {
  --packs_;
  packed_ -= static_cast<uint32_t>(pack->words[0]);
  Operation* const first = pack->packed;
  lane_.pack_buffers().Return(pack->pack);
  lane_.operations().Return(pack);
  return first;
}

// The transport refused it. Alone again, its operations can be cancelled and expire like any that wait.
void Rail::Unpack(Operation* pack) {
  OperationList operations;
  for (Operation* operation = DissolvePack(pack); operation != nullptr;) {
    operations.PushBack(std::exchange(operation, operation->next));
  }
  pending_.Prepend(&operations);
}

void Rail::FinishPack(Operation* pack, const absl::Status& status) {
  for (Operation* operation = DissolvePack(pack); operation != nullptr;) {
    Operation* const next = operation->next;
    if (next != nullptr) Operation::PrefetchEnd(next);
    CompleteSent(operation, status);
    operation = next;
  }
}

}  // namespace mcp::internal
