#include "lib/memory/populate.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/memory/host_memory.h"

namespace mcp::internal {
namespace {

// Pieces begin at huge pages, so that no two threads fault the same one in.
constexpr uint64_t kPieceUnitBytes = kHugePageBytes;

uint64_t CpusAllowed() {
  cpu_set_t cpus;
  return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? static_cast<uint64_t>(CPU_COUNT(&cpus)) : 1;
}

int PopulatePiece(uint64_t begin, uint64_t end) {
  return madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
}

}  // namespace

int PopulatePages(absl::Span<std::byte> range, uint64_t threads) {
  if (range.empty()) return 0;
  // Whole pages: those at the ends are the range's in part.
  const uint64_t begin = reinterpret_cast<uint64_t>(range.data()) / kPageBytes * kPageBytes;
  const uint64_t end =
      (reinterpret_cast<uint64_t>(range.data()) + range.size() + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (threads == 0) threads = std::min(CpusAllowed(), range.size() / kPopulateBytesPerThread);
  threads = std::clamp<uint64_t>(threads, 1, kPopulateThreadsMax);
  const uint64_t share = (end - begin) / threads;
  const auto edge = [=](uint64_t i) {
    return i == threads ? end : std::max(begin, (begin + i * share) / kPieceUnitBytes * kPieceUnitBytes);
  };
  std::atomic<int> failed{0};
  const auto populate = [&](uint64_t i) {
    const uint64_t from = i == 0 ? begin : edge(i);
    const int error = from < edge(i + 1) ? PopulatePiece(from, edge(i + 1)) : 0;
    int none = 0;
    if (error != 0) failed.compare_exchange_strong(none, error);
  };
  std::vector<std::thread> helpers;
  for (uint64_t i = 1; i < threads; ++i) {
    try {
      helpers.emplace_back(populate, i);
    } catch (const std::system_error&) {
      populate(i);  // no thread to be had: it takes longer
    }
  }
  populate(0);
  for (std::thread& helper : helpers) helper.join();
  return failed.load();
}

}  // namespace mcp::internal
