#include "lib/metrics/histogram.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mcp::internal {

Histogram::Histogram(Histogram&& other) noexcept
    : sum_(other.sum_.load(std::memory_order_relaxed)),
      min_(other.min_.load(std::memory_order_relaxed)),
      max_(other.max_.load(std::memory_order_relaxed)),
      buckets_(std::move(other.buckets_)) {}

void Histogram::LowerMin(uint64_t value) {
  uint64_t seen = min_.load(std::memory_order_relaxed);
  while (value < seen && !min_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

void Histogram::RaiseMax(uint64_t value) {
  uint64_t seen = max_.load(std::memory_order_relaxed);
  while (value > seen && !max_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) {
    const uint64_t count = other.buckets_[i].load(std::memory_order_relaxed);
    if (count != 0) AddRelaxed(&buckets_[i], count, false);
  }
  AddRelaxed(&sum_, other.Sum(), false);
  LowerMin(other.min_.load(std::memory_order_relaxed));
  RaiseMax(other.Max());
}

uint64_t Histogram::CountBelow(size_t end_bucket) const {
  uint64_t count = 0;
  for (size_t i = 0; i < end_bucket; ++i) count += buckets_[i].load(std::memory_order_relaxed);
  return count;
}

double Histogram::Mean() const {
  const uint64_t count = Count();
  return count == 0 ? 0.0 : static_cast<double>(Sum()) / static_cast<double>(count);
}

uint64_t Histogram::Percentile(double percent) const {
  const uint64_t count = Count();
  if (count == 0) return 0;
  if (percent <= 0) return Min();
  if (percent >= 100) return Max();
  const uint64_t rank =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(static_cast<double>(count) * percent / 100)));
  uint64_t below = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    below += buckets_[i].load(std::memory_order_relaxed);
    if (below < rank) continue;
    const uint64_t middle = BucketStart(i) + ((uint64_t{1} << BucketShift(i)) >> 1);
    return std::max(Min(), std::min(middle, Max()));
  }
  return Max();  // recorders were between their bucket and here
}

Histogram ShardedHistogram::Merged() const {
  Histogram merged;
  for (const Shard& shard : shards_) merged.Merge(shard.histogram);
  return merged;
}

}  // namespace mcp::internal
