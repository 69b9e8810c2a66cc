#include "lib/memory/region_impl.h"

#include <utility>

namespace mcp::internal {

void RegionImpl::Open(std::byte* base, uint64_t size, absl::AnyInvocable<void() &&> release) {
  base_ = base;
  size_ = size;
  release_ = std::move(release);
}

void RegionImpl::CloseHandle() {
  Revoke();
  const uint64_t generation = generation_.fetch_add(1, std::memory_order_seq_cst) + 1;
  if (ReleaseIfUnused(generation)) return;
  // Lanes count without fences, so one of them may just have dropped the last reference without seeing the closing.
  // Each looks once more after this moment; of two that look at the same time, the fence lets one see the other's.
  owner_.OnEveryLane([this, generation] { ReleaseIfUnused(generation); });
}

absl::StatusOr<uint64_t> RegionImpl::Export(uint32_t access) {
  absl::StatusOr<uint64_t> key = table_.Insert(base_, size_, access, nullptr);
  if (key.ok()) {
    const std::lock_guard<std::mutex> lock(keys_mutex_);
    keys_.push_back(*key);
  }
  return key;
}

void RegionImpl::Revoke() {
  std::vector<uint64_t> keys;
  {
    const std::lock_guard<std::mutex> lock(keys_mutex_);
    keys.swap(keys_);
  }
  if (!keys.empty()) owner_.RevokeKeys(keys);
}

// Within one odd generation no reference is added, so the counts only fall: a sum read as zero is zero. A caller that
// was overtaken by a recycling fails the exchange, since the generation has moved on.
bool RegionImpl::ReleaseIfUnused(uint64_t generation) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  int64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.count.load(std::memory_order_seq_cst);
  if (sum != 0) return false;
  if (!generation_.compare_exchange_strong(generation, generation + 1, std::memory_order_seq_cst)) return true;
  for (Shard& shard : shards_) shard.count.store(0, std::memory_order_relaxed);
  if (release_) std::move(release_)();
  release_ = nullptr;
  owner_.Recycle(this);
  return true;
}

}  // namespace mcp::internal
