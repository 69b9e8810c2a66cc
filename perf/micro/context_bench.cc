// What does the context layer cost a transfer: one look-up before it, one sample after it?
//
// Samples that are as expected are learned several at a time, and decisions are made every so many: what a sample costs
// is the whole of it, over all samples. A counter says how many samples there were to a decision.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "lib/context/advisor.h"
#include "lib/context/policies.h"
#include "tests/support/noise.h"

namespace mcp::internal {
namespace {

const std::vector<Alternative> kAlternatives = {{.protocol = Protocol::kBulk, .rails = 1},
                                                {.protocol = Protocol::kStream, .rails = 1},
                                                {.protocol = Protocol::kBulk, .rails = 2},
                                                {.protocol = Protocol::kStream, .rails = 2}};

// A steady path: each argument is a number of peers, which are used in turn.
struct World {
  explicit World(uint32_t peers) {
    for (uint32_t i = 0; i < peers; ++i) advisor.AddPeer(kAlternatives).value();
    Random random(1);
    for (uint32_t i = 0; i < 4096; ++i) {
      Sample sample;
      sample.peer = i % peers;
      sample.bytes = uint64_t{65536} << random.Below(4);
      sample.latency_ns =
          static_cast<int64_t>((10'000 + 0.1 * static_cast<double>(sample.bytes)) * LogNormal(&random, 0.2));
      samples.push_back(sample);
    }
    for (uint32_t alternative = 1; alternative < 4; ++alternative) {
      for (uint32_t i = 0; i < 64 * peers; ++i) {
        Sample sample = samples[i % 4096];
        sample.alternative = static_cast<uint8_t>(alternative);
        sample.latency_ns *= 2;
        advisor.Observe(sample, now_ns += 1000);
      }
    }
    for (const Sample& sample : samples) advisor.Observe(sample, now_ns += 1000);
  }

  ModelPolicy policy;
  DecisionTrace trace{64};  // as a lane keeps
  Advisor advisor{AdvisorOptions(), &policy, &trace};
  std::vector<Sample> samples;
  int64_t now_ns = 0;
};

void ContextSample(benchmark::State& state) {
  World world(static_cast<uint32_t>(state.range(0)));
  const uint64_t decisions = world.trace.count();
  size_t next = 0;
  for (auto _ : state) world.advisor.Observe(world.samples[next++ & 4095], world.now_ns += 1000);
  state.counters["alarms"] = static_cast<double>(world.advisor.alarms());
  state.counters["samples_a_decision"] =
      static_cast<double>(state.iterations()) / static_cast<double>(world.trace.count() - decisions);
}
BENCHMARK(ContextSample)->Arg(1)->Arg(64);

// Both, and what is advised is done: probes too, which take twice as long.
void ContextTransfer(benchmark::State& state) {
  World world(static_cast<uint32_t>(state.range(0)));
  size_t next = 0;
  for (auto _ : state) {
    Sample sample = world.samples[next++ & 4095];
    const Advice advice = world.advisor.Advise(sample.peer, sample.bytes, world.now_ns);
    sample.alternative = advice.alternative;
    sample.probe = advice.probe;
    if (advice.alternative != 0) sample.latency_ns *= 2;
    world.advisor.Observe(sample, world.now_ns += 1000);
  }
  state.counters["probes_per_1000"] =
      1000 * static_cast<double>(world.advisor.probes()) / static_cast<double>(state.iterations());
}
BENCHMARK(ContextTransfer)->Arg(1)->Arg(64);

void ContextLookUp(benchmark::State& state) {
  World world(static_cast<uint32_t>(state.range(0)));
  size_t next = 0;
  for (auto _ : state) {
    const Sample& sample = world.samples[next++ & 4095];
    Advice advice = world.advisor.Advise(sample.peer, sample.bytes, world.now_ns);
    benchmark::DoNotOptimize(advice);
  }
}
BENCHMARK(ContextLookUp)->Arg(1)->Arg(64);

}  // namespace
}  // namespace mcp::internal
