// Keeps memory registered, so that using the same range again costs a look-up.
//
// A request inside a range that is registered is a hit. One that overlaps registered ranges in part is merged with
// them: a single registration that covers all takes their place, and each old one goes when its last user has.
// Registrations without users stay, least recently used first to go, within bounds on bytes and number. Nothing watches
// malloc or munmap: whoever unmaps memory calls Invalidate first.
//
// Cost of a hit: a search without locks (range_index.h) and one atomic increment; see perf/micro.
//
// Thread rule: any thread. Hits and releases take no lock, but for the last release of what has been replaced or
// forgotten. Misses register at the same time unless they overlap: then one waits for the other. Giving up a
// registration holds up misses and forgetting for as long as the registrar takes for it.
// Lifetime rule: the cache outlives its Registrations, and the registrar the cache.
#ifndef MCP_LIB_MEMORY_REGISTRATION_CACHE_H_
#define MCP_LIB_MEMORY_REGISTRATION_CACHE_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/memory/range_index.h"

namespace mcp::internal {

// What makes memory known to a device. It must not call the cache.
class Registrar {
 public:
  virtual ~Registrar() = default;
  // Any thread, and several at once.
  virtual absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) = 0;
  virtual void Deregister(uint64_t handle) = 0;
};

class Registration;

class RegistrationCache {
 public:
  struct Limits {
    uint64_t bytes_max = ~uint64_t{0};  // registered at once, with or without users
    uint32_t entries_max = 4096;
    uint64_t granularity = 4096;  // ranges are widened to multiples of it; a power of two
  };
  struct Statistics {
    uint64_t misses = 0;     // Register calls
    uint64_t merges = 0;     // of these, how many replaced others
    uint64_t evictions = 0;  // registrations that went for others to fit
    uint64_t bytes = 0;      // registered now
    uint32_t entries = 0;    // registrations now
    uint32_t waiting = 0;    // requests that wait for a registration that overlaps theirs
  };

  RegistrationCache(Registrar& registrar, const Limits& limits);
  ~RegistrationCache();
  RegistrationCache(const RegistrationCache&) = delete;
  RegistrationCache& operator=(const RegistrationCache&) = delete;

  // kInvalidArgument for an empty range or one that leaves the address space, kResourceExhausted when the bounds do not
  // let it in beside what is in use; else what the registrar says. `made`: whether it was a miss.
  absl::StatusOr<Registration> Acquire(const void* address, uint64_t length, bool* made = nullptr);

  // A registration of this range, widened as said, that is its holder's alone unless others ask for parts of it; not
  // valid where another that is found, or is being made, overlaps it. Errors as for Acquire.
  absl::StatusOr<Registration> AcquireApart(const void* address, uint64_t length);

  // A registration that covers the range, if there is one: a hit or nothing (then it is not valid).
  Registration Find(const void* address, uint64_t length);

  // Forgets every registration that overlaps the range, each deregistered as soon as it has no user: unused ones before
  // this returns. Returns how many it forgot.
  size_t Invalidate(const void* address, uint64_t length);

  Statistics statistics() const;

 private:
  friend class Registration;
  // Retired: no longer found, goes with its last user.
  enum class State : uint8_t { kFree, kRegistering, kLive, kRetired };
  struct alignas(64) Entry;
  struct Range {
    uint64_t start = 0;
    uint64_t end = 0;
    uint64_t length() const { return end - start; }
    bool Overlaps(const Range& other) const { return start < other.end && other.start < end; }
  };

  absl::Status CheckedRange(const void* address, uint64_t length, Range* range) const;
  bool Widen(const void* address, uint64_t length, Range* range) const;
  Entry* Hit(const Range& range);
  void Release(Entry* entry);

  // With mutex_ held; Miss lets go of it while the registrar works.
  absl::StatusOr<Entry*> Miss(const Range& range, std::unique_lock<std::mutex>& lock);
  void PutInPlace(uint32_t slot);
  Range WithOverlapping(Range range) const;
  bool IsBeingRegistered(const Range& range) const;
  std::vector<uint32_t> Overlapping(const Range& range) const;
  bool Fits(const Range& range) const;
  absl::Status MakeRoom(const Range& range);
  absl::Status CheckRoomBesideUsers(const Range& range) const;
  uint32_t LeastRecentlyUsed() const;
  void Evict(uint32_t slot);
  void Retire(RangeIndex::Change* change, uint32_t slot);
  void Reap(Entry* entry);
  void ReapUnused();
  void Free(uint32_t slot);

  Registrar& registrar_;
  const Limits limits_;
  const std::unique_ptr<Entry[]> entries_;  // never freed before the end: a late reader may count itself in and out
  RangeIndex index_;
  std::atomic<uint64_t> misses_{0};  // the clock of recency: hits between two misses count as simultaneous
  mutable std::mutex mutex_;         // guards what follows, and changes of the rest
  std::condition_variable registered_;
  std::vector<uint32_t> registering_;
  std::vector<uint32_t> free_;
  Statistics statistics_;
};

// One user of a registration. Move-only; releases it when destroyed.
class Registration {
 public:
  Registration() = default;
  Registration(Registration&& other) noexcept : cache_(other.cache_), entry_(std::exchange(other.entry_, nullptr)) {}
  Registration& operator=(Registration&& other) noexcept {
    Reset();
    cache_ = other.cache_;
    entry_ = std::exchange(other.entry_, nullptr);
    return *this;
  }
  ~Registration() { Reset(); }

  bool valid() const { return entry_ != nullptr; }
  // These need a valid one. The range covers what was asked for, and may be wider.
  uint64_t handle() const;
  absl::Span<std::byte> range() const;

  void Reset() {
    if (entry_ != nullptr) cache_->Release(std::exchange(entry_, nullptr));
  }

 private:
  friend class RegistrationCache;
  Registration(RegistrationCache* cache, RegistrationCache::Entry* entry) : cache_(cache), entry_(entry) {}

  RegistrationCache* cache_ = nullptr;
  RegistrationCache::Entry* entry_ = nullptr;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REGISTRATION_CACHE_H_
