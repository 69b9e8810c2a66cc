// What does the library itself cost, over an RDMA device that costs nothing? Operations by the public API beside the
// same work requests posted and polled by hand. Arguments: operations in a batch, bytes of each.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "perf/micro/no_cost_device.h"

namespace mcp::internal {
namespace {

constexpr int64_t kKiB = 1024;

void Report(benchmark::State& state, double completions_per_request) {
  const auto batch = static_cast<double>(state.range(0));
  state.counters["per_op"] =
      benchmark::Counter(batch, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  if (completions_per_request > 0) state.counters["cqe_per_request"] = completions_per_request;
}

void MeasureSession(benchmark::State& state, void (NoCostSession::*batch)(), NoCostSession::Settings settings = {}) {
  settings.batch = static_cast<int>(state.range(0));
  settings.size = static_cast<uint64_t>(state.range(1));
  NoCostSession session(settings);
  (session.*batch)();
  const FakeFabric::Counters before = session.counters();
  for (auto _ : state) (session.*batch)();
  const FakeFabric::Counters after = session.counters();
  Report(state, static_cast<double>(after.send_completions - before.send_completions) /
                    static_cast<double>(after.sends_posted - before.sends_posted));
}

void MeasureBare(benchmark::State& state, void (BareQueuePairs::*batch)()) {
  BareQueuePairs pairs(static_cast<uint64_t>(state.range(1)), static_cast<int>(state.range(0)));
  for (auto _ : state) (pairs.*batch)();
  Report(state, 0);
}

void VerbsBareWrite(benchmark::State& state) { MeasureBare(state, &BareQueuePairs::WriteBatch); }
void VerbsBareRead(benchmark::State& state) { MeasureBare(state, &BareQueuePairs::ReadBatch); }
void VerbsBareSend(benchmark::State& state) { MeasureBare(state, &BareQueuePairs::SendBatch); }
void VerbsPut(benchmark::State& state) { MeasureSession(state, &NoCostSession::PutBatch); }
void VerbsPutInCompletion(benchmark::State& state) { MeasureSession(state, &NoCostSession::PutChain); }
void VerbsGet(benchmark::State& state) { MeasureSession(state, &NoCostSession::GetBatch); }
void VerbsSend(benchmark::State& state) { MeasureSession(state, &NoCostSession::SendBatch); }

// Where each receive's memory is closed to the peer before it completes.
void VerbsSendProtected(benchmark::State& state) {
  MeasureSession(state, &NoCostSession::SendBatch, {.protect = true});
}

// Where both ends hash each byte: the memory is zeros at both, since nothing is moved.
void VerbsSendChecked(benchmark::State& state) { MeasureSession(state, &NoCostSession::SendBatch, {.checksum = true}); }

void Sizes(benchmark::internal::Benchmark* bench) {
  for (const int64_t size : {4 * kKiB, 1024 * kKiB}) {
    for (const int64_t batch : {1, 16}) bench->Args({batch, size});
  }
}

BENCHMARK(VerbsBareWrite)->Apply(Sizes)->Args({64, 4 * kKiB});
// The smallest is in the request itself, and posted by the call that starts it.
BENCHMARK(VerbsPut)->Apply(Sizes)->Args({64, 4 * kKiB})->Args({1, 8});
BENCHMARK(VerbsPutInCompletion)->Args({16, 4 * kKiB});
BENCHMARK(VerbsBareRead)->Apply(Sizes);
BENCHMARK(VerbsGet)->Apply(Sizes);
// Nothing of a megabyte is sent by hand in one message of 4 KiB buffers: the library writes it.
BENCHMARK(VerbsBareSend)->Args({1, 4 * kKiB})->Args({16, 4 * kKiB});
BENCHMARK(VerbsSend)->Apply(Sizes);
BENCHMARK(VerbsSendProtected)->Args({1, 1024 * kKiB})->Args({16, 1024 * kKiB});
BENCHMARK(VerbsSendChecked)->Args({1, 1024 * kKiB})->Args({16, 1024 * kKiB});

}  // namespace
}  // namespace mcp::internal
