// What does a hit cost, acquire and release together? The bound is 50 ns.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "lib/base/random.h"
#include "lib/memory/registration_cache.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kRangeBytes = 1 << 20;

class NoRegistrar : public Registrar {
 public:
  absl::StatusOr<uint64_t> Register(absl::Span<std::byte>) override { return 1; }
  void Deregister(uint64_t) override {}
};

char* AddressOf(uint64_t range) { return reinterpret_cast<char*>((range + 1) * 2 * kRangeBytes); }

constexpr size_t kUses = 1 << 18;

// One cache and one order of use for all threads: random ranges, from their start or from any of their pages.
struct Fixture {
  Fixture(uint64_t ranges, bool scattered) : cache(registrar, {}), order(kUses) {
    Random random(1);
    for (uint64_t range = 0; range < ranges; ++range) cache.Acquire(AddressOf(range), kRangeBytes).value().Reset();
    for (char*& address : order) {
      address = AddressOf(random.Below(ranges)) + (scattered ? random.Below(kRangeBytes / 4096) * 4096 : 0);
    }
  }
  NoRegistrar registrar;
  RegistrationCache cache;
  std::vector<char*> order;
};

void Hit(benchmark::State& state, bool scattered) {
  static Fixture* fixture = nullptr;
  if (state.thread_index() == 0) fixture = new Fixture(static_cast<uint64_t>(state.range(0)), scattered);
  size_t next = static_cast<size_t>(state.thread_index()) * 1000;
  for (auto _ : state) {
    auto registration = fixture->cache.Acquire(fixture->order[next++ % kUses], 4096);
    benchmark::DoNotOptimize(registration->handle());
  }
  if (state.thread_index() == 0) {
    if (fixture->cache.statistics().misses != static_cast<uint64_t>(state.range(0))) state.SkipWithError("a miss");
    delete fixture;
  }
}

// Argument: registered ranges. The same buffers come again and again.
void RegistrationCacheHit(benchmark::State& state) { Hit(state, false); }
BENCHMARK(RegistrationCacheHit)->Arg(1)->Arg(64)->Arg(1024)->Arg(4096);
BENCHMARK(RegistrationCacheHit)->Arg(1024)->Threads(2);

// Every use has another address: hints are of no help.
void RegistrationCacheHitScattered(benchmark::State& state) { Hit(state, true); }
BENCHMARK(RegistrationCacheHitScattered)->Arg(1)->Arg(64)->Arg(1024)->Arg(4096);

}  // namespace
}  // namespace mcp::internal
