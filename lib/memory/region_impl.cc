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
  ReleaseIfUnused(generation_.fetch_add(1, std::memory_order_seq_cst) + 1);
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
void RegionImpl::ReleaseIfUnused(uint64_t generation) {
  int64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.count.load(std::memory_order_seq_cst);
  if (sum != 0) return;
  if (!generation_.compare_exchange_strong(generation, generation + 1, std::memory_order_seq_cst)) return;
  for (Shard& shard : shards_) shard.count.store(0, std::memory_order_relaxed);
  if (release_) std::move(release_)();
  release_ = nullptr;
  owner_.Recycle(this);
}

}  // namespace mcp::internal
