// What does it take to bring the pages of large memory in, by how many threads?
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "lib/memory/populate.h"

namespace mcp::internal {
namespace {

// Arguments: MiB, threads. Fresh plain pages each time.
void PopulateFreshPages(benchmark::State& state) {
  const auto bytes = static_cast<uint64_t>(state.range(0)) << 20;
  for (auto _ : state) {
    state.PauseTiming();
    void* const address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) return state.SkipWithError("no address space");
    madvise(address, bytes, MADV_NOHUGEPAGE);
    state.ResumeTiming();
    const int error = PopulatePages({static_cast<std::byte*>(address), bytes}, static_cast<uint64_t>(state.range(1)));
    state.PauseTiming();
    munmap(address, bytes);
    if (error != 0) return state.SkipWithError("populate failed");
    state.ResumeTiming();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}
BENCHMARK(PopulateFreshPages)->ArgsProduct({{4096}, {1, 2, 4, 8}})->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace mcp::internal
