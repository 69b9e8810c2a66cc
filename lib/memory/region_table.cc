// Budget of a Resolve: one cache line (the slot), no write, no shared line that changes.
//
// Why nothing can be used after Settled (epoch-based reclamation). A lane publishes on EnterRound how many
// invalidations it has seen, then reads keys. Invalidate clears the key, then counts itself. Both sides are
// sequentially consistent, so whoever scans the lanes after the count either finds the lane in its round with an older
// count, and waits, or the lane reads the cleared key. A slot is reused only when it has settled; so within a round
// the fields of a slot whose key matched do not change, and Resolve need not read the key again.
#include "lib/memory/region_table.h"

#include <algorithm>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/assert.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kNeverSettled = ~uint64_t{0};
// Beside a slot's rights.
constexpr uint32_t kIsLanding = 1u << 31;
// A slot serves no more: another Insert takes up to two uses, or four where the first makes key 0.
constexpr uint64_t kUseWornOut = kRegionUseMax - 4;

// Differs from every key of this slot in the slot bits.
uint64_t NoKey(uint32_t slot) { return slot ^ 1; }

void Raise(std::atomic<uint64_t>* value, uint64_t at_least) {
  uint64_t seen = value->load(std::memory_order_relaxed);
  while (seen < at_least && !value->compare_exchange_weak(seen, at_least, std::memory_order_acq_rel)) {
  }
}

std::string KeyText(uint64_t key) { return absl::StrFormat("key 0x%016x", key); }

}  // namespace

struct alignas(64) RegionTable::Slot {
  std::atomic<uint64_t> key{0};
  std::atomic<std::byte*> base{nullptr};
  std::atomic<uint64_t> length{0};
  std::atomic<const void*> subject{nullptr};  // the owner of a landing, the registration of an exported region
  std::atomic<uint64_t> use{0};               // counts Inserts of this slot
  std::atomic<uint64_t> retired_epoch{0};     // the invalidation that took the key back; kNeverSettled while it lives
  std::atomic<uint32_t> pins{0};
  std::atomic<uint32_t> access{0};
  std::atomic<uint32_t> next{0};  // in its stack: slot + 1, or 0
};

RegionTable::RegionTable(uint32_t slots_max, Random random)
    : slots_max_(std::clamp<uint32_t>(slots_max, 1, kRegionSlotsMax)), cipher_(random), slots_(new Slot[slots_max_]) {
  static_assert(sizeof(Slot) == 64);
  for (uint32_t i = 0; i < slots_max_; ++i) slots_[i].key.store(NoKey(i), std::memory_order_relaxed);
}

RegionTable::~RegionTable() = default;

absl::StatusOr<uint64_t> RegionTable::Insert(std::byte* base, uint64_t length, uint32_t access, Kind kind,
                                             const void* subject) {
  uint32_t index;
  if (!TakeSlot(&index)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", slots_max_, " keys are in use: raise EngineOptions::exported_keys_max, or retry"));
  }
  Slot& slot = slots_[index];
  uint64_t use = slot.use.load(std::memory_order_relaxed);
  uint64_t key;
  do {
    // Landings have the even uses, so that a key says what it was when that is gone.
    use += (use & 1) == (kind == Kind::kLanding ? 1 : 0) ? 1 : 2;
    key = cipher_.Key(index, use);
  } while (ABSL_PREDICT_FALSE(key == 0));
  slot.base.store(base, std::memory_order_relaxed);
  slot.length.store(length, std::memory_order_relaxed);
  slot.access.store(kind == Kind::kLanding ? access | kIsLanding : access, std::memory_order_relaxed);
  slot.subject.store(subject, std::memory_order_relaxed);
  slot.retired_epoch.store(kNeverSettled, std::memory_order_relaxed);
  slot.use.store(use, std::memory_order_release);
  slot.key.store(key, std::memory_order_release);
  slots_used_.fetch_add(1, std::memory_order_relaxed);
  return key;
}

bool RegionTable::Invalidate(uint64_t key) {
  Slot* slot = SlotOf(key);
  if (slot == nullptr) return false;
  const uint32_t index = RegionKeySlot(key);
  uint64_t expected = key;
  if (!slot->key.compare_exchange_strong(expected, NoKey(index), std::memory_order_seq_cst)) return false;
  const uint64_t epoch = invalidations_.fetch_add(1, std::memory_order_seq_cst) + 1;
  slot->retired_epoch.store(epoch, std::memory_order_release);
  slots_used_.fetch_sub(1, std::memory_order_relaxed);
  Push(&retired_, index);
  return true;
}

bool RegionTable::Settled(uint64_t key) const {
  const Slot* slot = SlotOf(key);
  if (slot == nullptr || cipher_.Use(key) != slot->use.load(std::memory_order_acquire)) return true;
  return IsSettled(*slot);
}

Resolved RegionTable::Resolve(uint64_t key, uint64_t offset, uint64_t length, uint32_t access) const {
  Resolved resolved;
  const Slot* slot = SlotOf(key);
  if (ABSL_PREDICT_FALSE(slot == nullptr || slot->key.load(std::memory_order_seq_cst) != key)) {
    resolved.outcome = OutcomeOfDeadKey(key);
    return resolved;
  }
  const uint64_t available = slot->length.load(std::memory_order_relaxed);
  const bool inside = offset <= available && length <= available - offset;
  const uint32_t rights = slot->access.load(std::memory_order_relaxed);
  const bool allowed = (rights & access) == access;
  if (ABSL_PREDICT_FALSE(!inside || !allowed)) return resolved;
  resolved.outcome = Resolved::Outcome::kOk;
  resolved.slot = RegionKeySlot(key);
  resolved.address = slot->base.load(std::memory_order_relaxed) + offset;
  const void* const subject = slot->subject.load(std::memory_order_relaxed);
  if ((rights & kIsLanding) != 0) {
    resolved.owner = const_cast<void*>(subject);
  } else {
    resolved.registered = static_cast<const DeviceMemory::Grant*>(subject);
  }
  return resolved;
}

absl::Status RegionTable::DescribeRefusal(uint64_t key, uint64_t offset, uint64_t length, uint32_t access) const {
  const Slot* slot = SlotOf(key);
  if (slot == nullptr || slot->key.load(std::memory_order_seq_cst) != key) {
    if (OutcomeOfDeadKey(key) == Resolved::Outcome::kStale) {
      return absl::FailedPreconditionError(absl::StrCat(KeyText(key), " names memory that was taken back"));
    }
    return absl::NotFoundError(absl::StrCat(KeyText(key), " names no memory of this engine"));
  }
  const uint64_t available = slot->length.load(std::memory_order_relaxed);
  if (offset > available || length > available - offset) {
    return absl::OutOfRangeError(
        absl::StrCat("offset ", offset, " + length ", length, " exceeds the ", available, " bytes of ", KeyText(key)));
  }
  const uint32_t missing = access & ~slot->access.load(std::memory_order_relaxed);
  return absl::PermissionDeniedError(
      absl::StrCat(KeyText(key), " does not allow remote ", (missing & kAccessRemoteWrite) != 0 ? "writes" : "reads"));
}

void RegionTable::Pin(uint32_t slot) {
  MCP_ASSERT(slot < slots_max_);
  slots_[slot].pins.fetch_add(1, std::memory_order_relaxed);  // published by LeaveRound
}

// Pin, then look at the key; Invalidate clears the key, then LandingSettled looks at the pins: one sees the other.
bool RegionTable::TryPin(uint32_t slot, uint64_t key) {
  slots_[slot].pins.fetch_add(1, std::memory_order_seq_cst);
  if (ABSL_PREDICT_TRUE(slots_[slot].key.load(std::memory_order_seq_cst) == key)) return true;
  Unpin(slot);
  return false;
}

bool RegionTable::LandingSettled(uint64_t key) const {
  const Slot* slot = SlotOf(key);
  if (slot == nullptr || cipher_.Use(key) != slot->use.load(std::memory_order_acquire)) return true;
  return slot->pins.load(std::memory_order_seq_cst) == 0;
}

void RegionTable::Unpin(uint32_t slot) {
  MCP_ASSERT(slot < slots_max_ && slots_[slot].pins.load(std::memory_order_relaxed) > 0);
  slots_[slot].pins.fetch_sub(1, std::memory_order_release);
}

bool RegionTable::Valid(uint32_t slot, uint64_t key) const {
  return slot < slots_max_ && slots_[slot].key.load(std::memory_order_acquire) == key;
}

void RegionTable::EnterRound(uint32_t lane) {
  MCP_ASSERT(lane < kLanesMax && rounds_[lane].epoch.load(std::memory_order_relaxed) == 0);
  uint32_t seen = lanes_seen_.load(std::memory_order_relaxed);
  while (ABSL_PREDICT_FALSE(seen <= lane) && !lanes_seen_.compare_exchange_weak(seen, lane + 1)) {
  }
  const uint64_t epoch = invalidations_.load(std::memory_order_acquire);
  // An exchange: on x86 a sequentially consistent store is the same instruction.
  rounds_[lane].epoch.exchange(epoch << 1 | 1, std::memory_order_seq_cst);
}

void RegionTable::LeaveRound(uint32_t lane) {
  MCP_ASSERT(lane < kLanesMax && rounds_[lane].epoch.load(std::memory_order_relaxed) != 0);
  rounds_[lane].epoch.store(0, std::memory_order_release);
}

RegionTable::Slot* RegionTable::SlotOf(uint64_t key) const {
  const uint32_t index = RegionKeySlot(key);
  return ABSL_PREDICT_TRUE(index < slots_max_) ? &slots_[index] : nullptr;
}

Resolved::Outcome RegionTable::OutcomeOfDeadKey(uint64_t key) const {
  const Slot* slot = SlotOf(key);
  if (slot == nullptr) return Resolved::Outcome::kRefused;
  const uint64_t use = cipher_.Use(key);
  const bool was_here = use != 0 && use <= slot->use.load(std::memory_order_acquire);
  return was_here ? Resolved::Outcome::kStale : Resolved::Outcome::kRefused;
}

bool RegionTable::IsSettled(const Slot& slot) const {
  const uint64_t epoch = slot.retired_epoch.load(std::memory_order_acquire);
  if (epoch > settled_through_.load(std::memory_order_acquire) && epoch > AdvanceSettledThrough()) return false;
  // In this order: a round that pinned the slot has ended, so its pin shows.
  return slot.pins.load(std::memory_order_acquire) == 0;
}

uint64_t RegionTable::AdvanceSettledThrough() const {
  uint64_t settled = invalidations_.load(std::memory_order_seq_cst);
  const uint32_t lanes = lanes_seen_.load(std::memory_order_seq_cst);
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    const uint64_t epoch = rounds_[lane].epoch.load(std::memory_order_seq_cst);
    if (epoch != 0) settled = std::min(settled, epoch >> 1);
  }
  Raise(&settled_through_, settled);
  return settled;
}

// Settled slots first, which are warm; then a slot never used; a full sweep when nothing else is left.
bool RegionTable::TakeSlot(uint32_t* slot) {
  if (Pop(&free_, slot)) return true;
  if (AdvanceSettledThrough() > swept_through_.load(std::memory_order_relaxed)) {
    SweepRetired();
    if (Pop(&free_, slot)) return true;
  }
  uint32_t touched = slots_touched_.load(std::memory_order_relaxed);
  while (touched < slots_max_) {
    if (slots_touched_.compare_exchange_weak(touched, touched + 1, std::memory_order_relaxed)) {
      *slot = touched;
      return true;
    }
  }
  SweepRetired();  // pins may be gone although no round has ended
  return Pop(&free_, slot);
}

// Frees what has settled of retired_. Linear in it, so done once for each advance of settled_through_.
void RegionTable::SweepRetired() {
  swept_through_.store(settled_through_.load(std::memory_order_acquire), std::memory_order_relaxed);
  uint64_t head = retired_.head.load(std::memory_order_acquire);
  while (!retired_.head.compare_exchange_weak(head, ((head >> 32) + 1) << 32, std::memory_order_acq_rel)) {
  }
  uint32_t link = static_cast<uint32_t>(head);
  while (link != 0) {
    const uint32_t index = link - 1;
    Slot& slot = slots_[index];
    link = slot.next.load(std::memory_order_relaxed);
    if (ABSL_PREDICT_FALSE(slot.use.load(std::memory_order_relaxed) >= kUseWornOut)) continue;
    Push(IsSettled(slot) ? &free_ : &retired_, index);
  }
}

void RegionTable::Push(SlotStack* stack, uint32_t slot) {
  uint64_t head = stack->head.load(std::memory_order_relaxed);
  uint64_t desired;
  do {
    slots_[slot].next.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
    desired = ((head >> 32) + 1) << 32 | (slot + 1);
  } while (!stack->head.compare_exchange_weak(head, desired, std::memory_order_acq_rel));
}

bool RegionTable::Pop(SlotStack* stack, uint32_t* slot) {
  uint64_t head = stack->head.load(std::memory_order_acquire);
  for (;;) {
    const uint32_t link = static_cast<uint32_t>(head);
    if (link == 0) return false;
    const uint64_t desired = ((head >> 32) + 1) << 32 | slots_[link - 1].next.load(std::memory_order_relaxed);
    if (stack->head.compare_exchange_weak(head, desired, std::memory_order_acq_rel, std::memory_order_acquire)) {
      *slot = link - 1;
      return true;
    }
  }
}

}  // namespace mcp::internal
