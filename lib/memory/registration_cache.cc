// Why a hit needs no lock. A reader finds an entry, counts itself in, and then checks that the index did not change
// meanwhile. A writer changes the index, and then looks at the entry's count. All four are sequentially consistent: a
// reader that saw no change is seen by the writer, so the entry stays until that reader releases it. A reader that saw
// one counts itself out, which like any release takes the entry away if it was the last to hold a retired one. Entries
// are never freed, so counting in and out of the wrong one does no harm.
#include "lib/memory/registration_cache.h"

#include <algorithm>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"

namespace mcp::internal {

struct alignas(64) RegistrationCache::Entry {
  std::atomic<uint32_t> users{0};
  std::atomic<State> state{State::kFree};
  std::atomic<uint64_t> start{0};
  std::atomic<uint64_t> end{0};
  std::atomic<uint64_t> handle{0};
  std::atomic<uint64_t> last_use{0};  // in misses_

  Range range() const { return {start.load(std::memory_order_relaxed), end.load(std::memory_order_relaxed)}; }
  bool unused() const { return users.load(std::memory_order_seq_cst) == 0; }
};

uint64_t Registration::handle() const { return entry_->handle.load(std::memory_order_relaxed); }

absl::Span<std::byte> Registration::range() const {
  return {reinterpret_cast<std::byte*>(entry_->start.load(std::memory_order_relaxed)), entry_->range().length()};
}

RegistrationCache::RegistrationCache(Registrar& registrar, const Limits& limits)
    : registrar_(registrar), limits_(limits), entries_(new Entry[limits.entries_max]), index_(limits.entries_max) {
  MCP_ASSERT(limits.entries_max > 0 && (limits.granularity & (limits.granularity - 1)) == 0 && limits.granularity > 0);
  free_.reserve(limits_.entries_max);
  for (uint32_t slot = limits_.entries_max; slot > 0; --slot) free_.push_back(slot - 1);
}

RegistrationCache::~RegistrationCache() {
  Invalidate(nullptr, ~uint64_t{0});
  MCP_ASSERT(statistics_.entries == 0);  // else a Registration outlived its cache
}

absl::StatusOr<Registration> RegistrationCache::Acquire(const void* address, uint64_t length, bool* made) {
  if (made != nullptr) *made = false;
  Range range;
  MCP_RETURN_IF_ERROR(CheckedRange(address, length, &range));
  if (Entry* entry = Hit(range)) return Registration(this, entry);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (Entry* entry = Hit(range)) return Registration(this, entry);  // another thread's miss brought it
    const Range merged = WithOverlapping(range);
    if (!IsBeingRegistered(merged)) {
      MCP_ASSIGN_OR_RETURN(Entry* const entry, Miss(merged, lock));
      if (made != nullptr) *made = true;
      return Registration(this, entry);
    }
    ++statistics_.waiting;
    registered_.wait(lock);
    --statistics_.waiting;
  }
}

absl::StatusOr<Registration> RegistrationCache::AcquireApart(const void* address, uint64_t length) {
  Range range;
  MCP_RETURN_IF_ERROR(CheckedRange(address, length, &range));
  std::unique_lock<std::mutex> lock(mutex_);
  if (IsBeingRegistered(range) || !Overlapping(range).empty()) return Registration();
  MCP_ASSIGN_OR_RETURN(Entry* const entry, Miss(range, lock));
  return Registration(this, entry);
}

Registration RegistrationCache::Find(const void* address, uint64_t length) {
  Range range;
  if (ABSL_PREDICT_FALSE(!Widen(address, length, &range))) return Registration();
  Entry* entry = Hit(range);
  return entry == nullptr ? Registration() : Registration(this, entry);
}

absl::Status RegistrationCache::CheckedRange(const void* address, uint64_t length, Range* range) const {
  if (ABSL_PREDICT_TRUE(Widen(address, length, range))) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "register ", length, " bytes at 0x", absl::Hex(reinterpret_cast<uint64_t>(address)), ": not a range of memory"));
}

bool RegistrationCache::Widen(const void* address, uint64_t length, Range* range) const {
  const auto start = reinterpret_cast<uint64_t>(address);
  const uint64_t end = start + length;
  const uint64_t mask = limits_.granularity - 1;
  *range = {start & ~mask, (end + mask) & ~mask};
  return length > 0 && end > start && end + mask >= end;
}

RegistrationCache::Entry* RegistrationCache::Hit(const Range& range) {
  const uint64_t sequence = index_.Sequence();
  const uint32_t slot = index_.Find(range.start);
  if (slot == RangeIndex::kNone || (sequence & 1) != 0) return nullptr;
  Entry& entry = entries_[slot];
  if (entry.end.load(std::memory_order_acquire) < range.end) return nullptr;
  entry.users.fetch_add(1, std::memory_order_seq_cst);
  if (!index_.Unchanged(sequence)) {
    Release(&entry);
    return nullptr;
  }
  entry.last_use.store(misses_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  return &entry;
}

void RegistrationCache::Release(Entry* entry) {
  const bool last = entry->users.fetch_sub(1, std::memory_order_seq_cst) == 1;
  if (!last || entry->state.load(std::memory_order_seq_cst) != State::kRetired) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  Reap(entry);
}

// The room is taken before and filled after the registrar's work, which may take seconds and holds nothing up but
// misses that overlap it.
absl::StatusOr<RegistrationCache::Entry*> RegistrationCache::Miss(const Range& range,
                                                                  std::unique_lock<std::mutex>& lock) {
  MCP_RETURN_IF_ERROR(MakeRoom(range));
  const uint32_t slot = free_.back();
  free_.pop_back();
  Entry& entry = entries_[slot];
  entry.users.fetch_add(1, std::memory_order_seq_cst);  // not a store: a late reader may be counted in
  entry.start.store(range.start, std::memory_order_release);
  entry.end.store(range.end, std::memory_order_release);
  entry.state.store(State::kRegistering, std::memory_order_seq_cst);
  registering_.push_back(slot);
  ++statistics_.entries;
  statistics_.bytes += range.length();
  lock.unlock();
  const absl::StatusOr<uint64_t> handle =
      registrar_.Register({reinterpret_cast<std::byte*>(range.start), range.length()});
  lock.lock();
  std::erase(registering_, slot);
  registered_.notify_all();
  if (!handle.ok()) {
    entry.users.fetch_sub(1, std::memory_order_seq_cst);
    Free(slot);
    return handle.status();
  }
  entry.handle.store(*handle, std::memory_order_release);
  ++statistics_.misses;
  if (entry.state.load(std::memory_order_relaxed) == State::kRegistering) PutInPlace(slot);
  return &entry;
}

// Of what it overlaps.
void RegistrationCache::PutInPlace(uint32_t slot) {
  Entry& entry = entries_[slot];
  const Range range = entry.range();
  const std::vector<uint32_t> replaced = Overlapping(range);
  {
    RangeIndex::Change change(&index_);
    for (uint32_t old : replaced) Retire(&change, old);
    entry.last_use.store(misses_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    entry.state.store(State::kLive, std::memory_order_seq_cst);
    change.Insert(range.start, slot);
  }
  for (uint32_t old : replaced) Reap(&entries_[old]);
  statistics_.merges += replaced.empty() ? 0 : 1;
}

RegistrationCache::Range RegistrationCache::WithOverlapping(Range range) const {
  for (uint32_t slot : Overlapping(range)) {
    range.start = std::min(range.start, entries_[slot].range().start);
    range.end = std::max(range.end, entries_[slot].range().end);
  }
  return range;
}

bool RegistrationCache::IsBeingRegistered(const Range& range) const {
  return std::any_of(registering_.begin(), registering_.end(),
                     [&](uint32_t slot) { return entries_[slot].range().Overlaps(range); });
}

// Live ranges are disjoint, so those that overlap are neighbours.
std::vector<uint32_t> RegistrationCache::Overlapping(const Range& range) const {
  std::vector<uint32_t> slots;
  uint32_t position = index_.PositionOf(range.start);
  if (position == RangeIndex::kNone) position = 0;
  for (; position < index_.size() && index_.StartAt(position) < range.end; ++position) {
    const uint32_t slot = index_.SlotAt(position);
    if (entries_[slot].end.load(std::memory_order_relaxed) > range.start) slots.push_back(slot);
  }
  return slots;
}

bool RegistrationCache::Fits(const Range& range) const {
  return !free_.empty() && range.length() <= limits_.bytes_max &&
         statistics_.bytes <= limits_.bytes_max - range.length();
}

// Linear in the entries, but only when the cache is full. What the new registration replaces goes first.
absl::Status RegistrationCache::MakeRoom(const Range& range) {
  if (Fits(range)) return absl::OkStatus();
  MCP_RETURN_IF_ERROR(CheckRoomBesideUsers(range));
  for (uint32_t slot : Overlapping(range)) {
    if (entries_[slot].unused()) Evict(slot);
  }
  while (!Fits(range)) {
    const uint32_t slot = LeastRecentlyUsed();
    if (slot != RangeIndex::kNone) {
      Evict(slot);
      continue;
    }
    MCP_RETURN_IF_ERROR(CheckRoomBesideUsers(range));
    ReapUnused();
  }
  return absl::OkStatus();
}

// What a late reader was counted into when it was retired, and is no more.
void RegistrationCache::ReapUnused() {
  for (uint32_t slot = 0; slot < limits_.entries_max; ++slot) Reap(&entries_[slot]);
}

absl::Status RegistrationCache::CheckRoomBesideUsers(const Range& range) const {
  uint64_t bytes = 0;
  uint32_t entries = 0;
  for (uint32_t slot = 0; slot < limits_.entries_max; ++slot) {
    const Entry& entry = entries_[slot];
    if (entry.state.load(std::memory_order_relaxed) == State::kFree || entry.unused()) continue;
    bytes += entry.range().length();
    ++entries;
  }
  if (entries < limits_.entries_max && range.length() <= limits_.bytes_max &&
      bytes <= limits_.bytes_max - range.length()) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "register ", FormatBytes(range.length()), " at 0x", absl::Hex(range.start), ": ", entries, " registrations of ",
      FormatBytes(bytes), " are in use, of at most ", limits_.entries_max, " and ", FormatBytes(limits_.bytes_max)));
}

uint32_t RegistrationCache::LeastRecentlyUsed() const {
  uint32_t found = RangeIndex::kNone;
  uint64_t oldest = ~uint64_t{0};
  for (uint32_t position = 0; position < index_.size(); ++position) {
    const uint32_t slot = index_.SlotAt(position);
    const uint64_t last_use = entries_[slot].last_use.load(std::memory_order_relaxed);
    if (last_use < oldest && entries_[slot].unused()) {
      oldest = last_use;
      found = slot;
    }
  }
  return found;
}

void RegistrationCache::Evict(uint32_t slot) {
  {
    RangeIndex::Change change(&index_);
    Retire(&change, slot);
  }
  Reap(&entries_[slot]);  // unless a hit came first: then with its release
  ++statistics_.evictions;
}

void RegistrationCache::Retire(RangeIndex::Change* change, uint32_t slot) {
  change->Remove(entries_[slot].start.load(std::memory_order_relaxed));
  entries_[slot].state.store(State::kRetired, std::memory_order_seq_cst);
}

void RegistrationCache::Reap(Entry* entry) {
  if (entry->state.load(std::memory_order_relaxed) != State::kRetired || !entry->unused()) return;
  registrar_.Deregister(entry->handle.load(std::memory_order_relaxed));
  Free(static_cast<uint32_t>(entry - entries_.get()));
}

void RegistrationCache::Free(uint32_t slot) {
  statistics_.bytes -= entries_[slot].range().length();
  --statistics_.entries;
  entries_[slot].state.store(State::kFree, std::memory_order_seq_cst);
  free_.push_back(slot);
}

size_t RegistrationCache::Invalidate(const void* address, uint64_t length) {
  const auto start = reinterpret_cast<uint64_t>(address);
  const std::lock_guard<std::mutex> lock(mutex_);
  const Range range = {start, start + std::min(length, ~start)};
  const std::vector<uint32_t> slots = Overlapping(range);
  size_t forgotten = slots.size();
  for (uint32_t slot : registering_) {
    if (!entries_[slot].range().Overlaps(range)) continue;
    entries_[slot].state.store(State::kRetired, std::memory_order_seq_cst);
    ++forgotten;
  }
  {
    RangeIndex::Change change(&index_);
    for (uint32_t slot : slots) Retire(&change, slot);
  }
  for (uint32_t slot : slots) Reap(&entries_[slot]);
  return forgotten;
}

RegistrationCache::Statistics RegistrationCache::statistics() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return statistics_;
}

}  // namespace mcp::internal
