// What does it cost to record, and to count?
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "lib/base/random.h"
#include "lib/metrics/histogram.h"

namespace mcp::internal {
namespace {

// Latencies spread over four octaves around 64 us.
std::vector<uint64_t> Latencies() {
  Random random(1);
  std::vector<uint64_t> values(4096);
  for (uint64_t& value : values) value = (uint64_t{1} << (14 + random.Below(4))) + random.Below(1 << 14);
  return values;
}

// Argument: the shard. 0 is shared, 1 belongs to this thread.
void HistogramRecord(benchmark::State& state) {
  const std::vector<uint64_t> values = Latencies();
  ShardedHistogram histogram(2);
  size_t next = 0;
  for (auto _ : state) histogram.Record(static_cast<uint32_t>(state.range(0)), values[next++ & 4095]);
}
BENCHMARK(HistogramRecord)->Arg(0)->Arg(1);

void HistogramPercentile(benchmark::State& state) {
  Histogram histogram;
  for (uint64_t value : Latencies()) histogram.Record(value);
  for (auto _ : state) benchmark::DoNotOptimize(histogram.Percentile(99));
}
BENCHMARK(HistogramPercentile);

void CounterAdd(benchmark::State& state) {
  Counter counter(2);
  for (auto _ : state) {
    counter.Add(static_cast<uint32_t>(state.range(0)));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(CounterAdd)->Arg(0)->Arg(1);

}  // namespace
}  // namespace mcp::internal
