// What does it cost to hand an item to another thread's queue?
#include <benchmark/benchmark.h>

#include <cstdint>

#include "lib/base/mpsc_queue.h"

namespace mcp::internal {
namespace {

struct Item {
  uint64_t words[8];
};

void MpscQueuePushPop(benchmark::State& state) {
  MpscQueue<Item> queue(1024);
  Item item{};
  for (auto _ : state) {
    queue.TryPush(Item{});
    queue.TryPop(&item);
    benchmark::DoNotOptimize(item);
  }
}
BENCHMARK(MpscQueuePushPop);

// The first thread pops, the others push: items that went through, per second.
void MpscQueueThrough(benchmark::State& state) {
  static MpscQueue<Item>* const queue = new MpscQueue<Item>(1024);
  Item item{};
  int64_t popped = 0;
  if (state.thread_index() == 0) {
    for (auto _ : state) {
      popped += queue->TryPop(&item) ? 1 : 0;
      benchmark::DoNotOptimize(item);
    }
    state.SetItemsProcessed(popped);
  } else {
    for (auto _ : state) benchmark::DoNotOptimize(queue->TryPush(Item{}));
  }
}
BENCHMARK(MpscQueueThrough)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace mcp::internal
