// What does a peer's access cost before a byte moves, and a landing?
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "lib/memory/region_table.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kAccess = kAccessRemoteWrite;

// Argument: keys in use, each resolved in a scattered order.
void RegionTableResolve(benchmark::State& state) {
  const auto keys_count = static_cast<uint32_t>(state.range(0));
  RegionTable table(keys_count, Random(1));
  std::vector<std::byte> bytes(4096);
  std::vector<uint64_t> keys;
  for (uint32_t i = 0; i < keys_count; ++i) {
    keys.push_back(table.Insert(bytes.data(), bytes.size(), kAccess, nullptr).value());
  }
  uint32_t next = 0;
  table.EnterRound(0);
  for (auto _ : state) {
    next = (next + 7919) & (keys_count - 1);
    Resolved resolved = table.Resolve(keys[next], 64, 1024, kAccess);
    benchmark::DoNotOptimize(resolved);
  }
  table.LeaveRound(0);
}
BENCHMARK(RegionTableResolve)->Arg(1)->Arg(1024)->Arg(65536);

void RegionTableResolveStale(benchmark::State& state) {
  RegionTable table(16, Random(1));
  std::byte byte;
  const uint64_t key = table.Insert(&byte, 1, kAccess, nullptr).value();
  table.Invalidate(key);
  for (auto _ : state) {
    Resolved resolved = table.Resolve(key, 0, 1, kAccess);
    benchmark::DoNotOptimize(resolved);
  }
}
BENCHMARK(RegionTableResolveStale);

void RegionTableRound(benchmark::State& state) {
  RegionTable table(16, Random(1));
  for (auto _ : state) {
    table.EnterRound(0);
    table.LeaveRound(0);
  }
}
BENCHMARK(RegionTableRound);

// A landing's life: inserted, resolved and pinned in one round, taken back and settled in the next.
void RegionTableLanding(benchmark::State& state) {
  RegionTable table(1024, Random(1));
  std::byte byte;
  for (auto _ : state) {
    table.EnterRound(0);
    const uint64_t key = table.Insert(&byte, 1, kAccess, nullptr).value();
    const Resolved resolved = table.Resolve(key, 0, 1, kAccess);
    table.Pin(resolved.slot);
    table.Unpin(resolved.slot);
    table.Invalidate(key);
    table.LeaveRound(0);
    benchmark::DoNotOptimize(table.Settled(key));
  }
}
BENCHMARK(RegionTableLanding);

}  // namespace
}  // namespace mcp::internal
