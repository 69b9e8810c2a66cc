// Distribution of whole numbers (nanoseconds, bytes) over all of 64 bits, in constant memory.
//
// Values below 128 are counted exactly; above, every power of two is cut into 64 buckets, so a value read back (the
// middle of its bucket) is within 1/128 = 0.8 % of what was recorded. Count, sum, smallest and largest are exact.
// The bucket layout is that of HdrHistogram (G. Tene).
//
// Thread rule: Record from one thread at a time, RecordShared from any, never both on one object; reading from any
// thread, while others record.
#ifndef MCP_LIB_METRICS_HISTOGRAM_H_
#define MCP_LIB_METRICS_HISTOGRAM_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "lib/base/assert.h"
#include "lib/metrics/counter.h"

namespace mcp::internal {

class Histogram {
 public:
  static constexpr int kBucketBits = 6;                                      // 2^6 buckets for a power of two
  static constexpr size_t kBuckets = (64 - kBucketBits + 1) << kBucketBits;  // 30 KiB

  Histogram() : buckets_(new std::atomic<uint64_t>[kBuckets]()) {}
  Histogram(Histogram&& other) noexcept;
  Histogram& operator=(Histogram&& other) = delete;

  // O(1): one bucket, the sum, and two comparisons.
  void Record(uint64_t value) { RecordAs(value, false); }
  void RecordShared(uint64_t value) { RecordAs(value, true); }

  // Adds what `other` holds. Counts as Record for the thread rule.
  void Merge(const Histogram& other);

  uint64_t Count() const { return CountBelow(kBuckets); }
  uint64_t Sum() const { return sum_.load(std::memory_order_relaxed); }
  // 0 when nothing was recorded.
  uint64_t Min() const { return Max() == 0 ? 0 : min_.load(std::memory_order_relaxed); }
  uint64_t Max() const { return max_.load(std::memory_order_relaxed); }
  double Mean() const;

  // The smallest recorded value that at least `percent` (0 to 100) of all values do not exceed, within 0.8 %; the
  // exact smallest for 0 and largest for 100. 0 when nothing was recorded.
  uint64_t Percentile(double percent) const;

  // How many values are below 2^exponent. Exact for exponents from 0 to 63.
  uint64_t CountBelowPowerOfTwo(int exponent) const { return CountBelow(BucketOf(uint64_t{1} << exponent)); }

  static size_t BucketOf(uint64_t value) {
    const int shift = std::bit_width(value >> (kBucketBits + 1));
    return (static_cast<size_t>(shift) << kBucketBits) + (value >> shift);
  }
  // Smallest value of a bucket.
  static uint64_t BucketStart(size_t bucket) {
    const int shift = BucketShift(bucket);
    return (bucket - (static_cast<size_t>(shift) << kBucketBits)) << shift;
  }

 private:
  static int BucketShift(size_t bucket) {
    return bucket < (size_t{2} << kBucketBits) ? 0 : static_cast<int>(bucket >> kBucketBits) - 1;
  }
  void RecordAs(uint64_t value, bool shared) {
    AddRelaxed(&buckets_[BucketOf(value)], 1, shared);
    AddRelaxed(&sum_, value, shared);
    if (value < min_.load(std::memory_order_relaxed)) LowerMin(value);
    if (value > max_.load(std::memory_order_relaxed)) RaiseMax(value);
  }
  void LowerMin(uint64_t value);
  void RaiseMax(uint64_t value);
  uint64_t CountBelow(size_t end_bucket) const;

  std::atomic<uint64_t> sum_{0};
  std::atomic<uint64_t> min_{std::numeric_limits<uint64_t>::max()};
  std::atomic<uint64_t> max_{0};
  std::unique_ptr<std::atomic<uint64_t>[]> buckets_;
};

// One histogram a shard (counter.h says what a shard is).
class ShardedHistogram {
 public:
  explicit ShardedHistogram(uint32_t shards) : shards_(shards) {}

  void Record(uint32_t shard, uint64_t value) {
    MCP_ASSERT(shard < shards_.size());
    if (shard == kAnyThreadShard) {
      shards_[shard].histogram.RecordShared(value);
    } else {
      shards_[shard].histogram.Record(value);
    }
  }

  Histogram Merged() const;

 private:
  struct alignas(64) Shard {
    Histogram histogram;
  };
  std::vector<Shard> shards_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_METRICS_HISTOGRAM_H_
