// Latencies in nanoseconds, in constant memory: 128 buckets to each power of two, so that a percentile is off by at
// most 0.4 % of its value.
//
// Thread rule: one writer. Merge when the writers are done.
#ifndef MCP_TOOLS_MCP_PERF_HISTOGRAM_H_
#define MCP_TOOLS_MCP_PERF_HISTOGRAM_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace mcp::perf {

class Histogram {
 public:
  void Record(int64_t ns) {
    const uint64_t value = ns < 0 ? 0 : std::min(static_cast<uint64_t>(ns), kValueMax);
    ++buckets_[Index(value)];
    ++count_;
    sum_ns_ += static_cast<double>(value);
    min_ns_ = std::min(min_ns_, value);
    max_ns_ = std::max(max_ns_, value);
  }

  void Merge(const Histogram& other) {
    for (size_t index = 0; index < buckets_.size(); ++index) buckets_[index] += other.buckets_[index];
    count_ += other.count_;
    sum_ns_ += other.sum_ns_;
    min_ns_ = std::min(min_ns_, other.min_ns_);
    max_ns_ = std::max(max_ns_, other.max_ns_);
  }

  uint64_t count() const { return count_; }
  double min_ns() const { return count_ == 0 ? 0 : static_cast<double>(min_ns_); }
  double max_ns() const { return static_cast<double>(max_ns_); }
  double mean_ns() const { return count_ == 0 ? 0 : sum_ns_ / static_cast<double>(count_); }

  // The value that `fraction` (0 to 1) of the records do not exceed.
  double PercentileNs(double fraction) const {
    if (count_ == 0) return 0;
    const double rank = fraction * static_cast<double>(count_);
    uint64_t seen = 0;
    for (size_t index = 0; index < buckets_.size(); ++index) {
      seen += buckets_[index];
      if (static_cast<double>(seen) >= rank && seen > 0) {
        return std::clamp(Middle(index), min_ns(), max_ns());
      }
    }
    return max_ns();
  }

 private:
  static constexpr int kSubBits = 7;
  static constexpr uint64_t kSubBuckets = uint64_t{1} << kSubBits;
  static constexpr int kPowersMax = 34;  // up to 2^41 ns: 36 minutes
  static constexpr uint64_t kValueMax = (uint64_t{1} << (kPowersMax + kSubBits)) - 1;

  // The first kSubBuckets values have a bucket each; then every power of two has kSubBuckets of them.
  static size_t Index(uint64_t value) {
    if (value < kSubBuckets) return static_cast<size_t>(value);
    const int shift = std::bit_width(value) - kSubBits - 1;
    return static_cast<size_t>(shift + 1) * kSubBuckets + static_cast<size_t>((value >> shift) - kSubBuckets);
  }
  static double Middle(size_t index) {
    if (index < kSubBuckets) return static_cast<double>(index);
    const size_t shift = index / kSubBuckets - 1;
    const uint64_t low = (kSubBuckets + index % kSubBuckets) << shift;
    return static_cast<double>(low) + static_cast<double>((uint64_t{1} << shift) - 1) / 2;
  }

  std::array<uint64_t, (kPowersMax + 1) * kSubBuckets> buckets_{};
  uint64_t count_ = 0;
  double sum_ns_ = 0;
  uint64_t min_ns_ = std::numeric_limits<uint64_t>::max();
  uint64_t max_ns_ = 0;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_HISTOGRAM_H_
