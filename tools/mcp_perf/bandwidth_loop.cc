#include "tools/mcp_perf/bandwidth_loop.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/sizes.h"

namespace mcp::perf {
namespace {

// Of operations that a chain claims at once.
constexpr uint64_t kBlockMax = 64;
constexpr uint64_t kBlockBytes = uint64_t{64} << 10;
// Blocks that each chain gets of a window, so that the lanes end it together.
constexpr uint64_t kBlocksPerChain = 16;
// No operation starts for so long: the measurement is stuck. Plus the time of one operation at kSlowestBytesPerS.
constexpr int64_t kStallNs = int64_t{60} * 1'000'000'000;
constexpr uint64_t kSlowestBytesPerS = 1'000'000;

std::atomic<uint64_t> serials{1};

// The lane's histogram of the loop that it last served.
struct LaneSlot {
  uint64_t serial = 0;
  Histogram* histogram = nullptr;
};
thread_local LaneSlot lane_slot;

}  // namespace

BandwidthLoop::BandwidthLoop(DataPath* path, const RemoteRegion& peer)
    : path_(path),
      peer_(peer),
      operation_(path->spec().test.operation),
      sample_every_(path->layout().size < kEveryOperationBytes ? kSampleEvery : 1),
      chains_(path->layout().outstanding),
      serial_(serials.fetch_add(1)) {
  for (Chain& chain : chains_) chain.loop = this;
}

BandwidthLoop::~BandwidthLoop() = default;

absl::StatusOr<WindowOutcome> BandwidthLoop::Run(uint64_t generation, uint64_t limit, int64_t duration_ns,
                                                 const std::function<void()>& tick) {
  generation_ = generation;
  limit_ = limit;
  const uint64_t share = std::max(uint64_t{1}, limit / (chains_.size() * kBlocksPerChain));
  block_ = std::min({share, kBlockMax, std::max(uint64_t{1}, kBlockBytes / path_->layout().size)});
  next_.store(0);
  stop_.store(false);
  {
    const std::lock_guard lock(mutex_);
    finished_ = false;
    error_ = absl::OkStatus();
  }
  // One more than there are chains: this thread holds the window open until all have started.
  active_.store(static_cast<uint32_t>(chains_.size()) + 1);
  const int64_t start_ns = NowNs();
  for (Chain& chain : chains_) {
    chain.next = chain.end = 0;
    chain.until_sample = 1;  // however few operations a window has, some are timed
    Advance(&chain, start_ns);
  }
  Retire();
  const bool bounded = duration_ns < std::numeric_limits<int64_t>::max() - start_ns;
  AwaitEnd(bounded ? start_ns + duration_ns : std::numeric_limits<int64_t>::max(), tick);
  const std::lock_guard lock(mutex_);
  if (!error_.ok()) return error_;
  return WindowOutcome{std::min(next_.load(), limit_), end_ns_ - start_ns};
}

void BandwidthLoop::AwaitEnd(int64_t deadline_ns, const std::function<void()>& tick) {
  uint64_t claimed = 0;
  const int64_t patience_ns = kStallNs + static_cast<int64_t>(path_->layout().size / kSlowestBytesPerS) * 1'000'000'000;
  int64_t stalled_at_ns = NowNs() + patience_ns;
  std::unique_lock lock(mutex_);
  while (!finished_) {
    const int64_t now_ns = NowNs();
    if (now_ns >= deadline_ns || Interrupted()) stop_.store(true, std::memory_order_relaxed);
    std::chrono::nanoseconds wait = kInterruptPoll;
    if (deadline_ns > now_ns) wait = std::min(wait, std::chrono::nanoseconds(deadline_ns - now_ns));
    if (!parked_.empty()) wait = std::chrono::milliseconds(1);
    if (changed_.wait_for(lock, wait, [this] { return finished_; })) break;
    lock.unlock();
    tick();
    // Where nothing is in flight, no completion comes to do it.
    RetryParked();
    if (const uint64_t now_claimed = next_.load(); now_claimed != claimed) {
      claimed = now_claimed;
      stalled_at_ns = NowNs() + patience_ns;
    } else if (NowNs() > stalled_at_ns) {
      Fail(absl::DeadlineExceededError(absl::StrCat("no progress in ", patience_ns / 1'000'000'000, " s")));
      path_->CloseSession();  // completes what is in flight
      stalled_at_ns = std::numeric_limits<int64_t>::max();
    }
    lock.lock();
  }
}

void BandwidthLoop::OnDone(Chain* chain, const Result& result) {
  if (!result.status.ok()) [[unlikely]] {
    Fail(result.status);
    Retire();
    return;
  }
  int64_t now_ns = 0;
  if (chain->sampled) {
    now_ns = NowNs();
    LaneHistogram().Record(now_ns - chain->posted_ns);
  }
  if (parked_count_.load(std::memory_order_relaxed) != 0) [[unlikely]]
    RetryParked();
  Advance(chain, now_ns);
}

// `now_ns`: 0 where the clock has not been read.
void BandwidthLoop::Advance(Chain* chain, int64_t now_ns) {
  if (chain->next == chain->end && !Claim(chain)) {
    Retire();
    return;
  }
  chain->sampled = --chain->until_sample == 0;
  if (chain->sampled) {
    chain->until_sample = sample_every_;
    chain->posted_ns = now_ns != 0 ? now_ns : NowNs();
  }
  Post(chain);
}

bool BandwidthLoop::Claim(Chain* chain) {
  if (stop_.load(std::memory_order_relaxed)) return false;
  if (next_.load(std::memory_order_relaxed) >= limit_) return false;
  const uint64_t begin = next_.fetch_add(block_, std::memory_order_relaxed);
  if (begin >= limit_) return false;
  const Layout& layout = path_->layout();
  chain->next = begin;
  chain->end = std::min(begin + block_, limit_);
  chain->slot = begin % layout.slots;
  chain->phase = path_->OperationNumber(generation_, begin) % layout.phases;
  return true;
}

absl::StatusOr<OperationId> BandwidthLoop::Start(Chain* chain, uint64_t index, uint64_t slot, uint64_t phase) {
  const Layout& layout = path_->layout();
  Session& session = path_->session();
  const auto done = [chain](Result&& result) { chain->loop->OnDone(chain, result); };
  switch (operation_) {
    case Operation::kPut:
      return session.Put(path_->SourceSlice(phase), peer_, layout.SlotOffset(slot), done);
    case Operation::kGet:
      return session.Get(path_->SlotSlice(slot), peer_, layout.PhaseOffset(phase), done);
    case Operation::kSend:
      return session.Send(path_->OperationNumber(generation_, index), path_->SourceSlice(phase), done);
  }
  return absl::InternalError("no such operation");
}

void BandwidthLoop::Post(Chain* chain) {
  const Layout& layout = path_->layout();
  const uint64_t slot = chain->slot;
  const uint64_t phase = chain->phase;
  const uint64_t index = chain->next;
  // Stepped before the post: the completion may run before the post has returned.
  ++chain->next;
  chain->slot = slot + 1 == layout.slots ? 0 : slot + 1;
  chain->phase = phase + 1 == layout.phases ? 0 : phase + 1;
  const absl::StatusOr<OperationId> posted = Start(chain, index, slot, phase);
  if (posted.ok()) [[likely]]
    return;
  chain->next = index;
  chain->slot = slot;
  chain->phase = phase;
  if (absl::IsResourceExhausted(posted.status())) {
    const std::lock_guard lock(mutex_);
    parked_.push_back(chain);
    parked_count_.store(static_cast<uint32_t>(parked_.size()), std::memory_order_relaxed);
    return;
  }
  Fail(posted.status());
  Retire();
}

void BandwidthLoop::RetryParked() {
  Chain* chain = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (parked_.empty()) return;
    chain = parked_.front();
    parked_.pop_front();
    parked_count_.store(static_cast<uint32_t>(parked_.size()), std::memory_order_relaxed);
  }
  Post(chain);
}

void BandwidthLoop::Retire() {
  if (active_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const int64_t now_ns = NowNs();
  const std::lock_guard lock(mutex_);
  end_ns_ = now_ns;
  finished_ = true;
  changed_.notify_all();
}

void BandwidthLoop::Fail(const absl::Status& status) {
  stop_.store(true, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (error_.ok()) error_ = status;
}

Histogram& BandwidthLoop::LaneHistogram() {
  if (lane_slot.serial != serial_) [[unlikely]] {
    const std::lock_guard lock(mutex_);
    histograms_.push_back(std::make_unique<Histogram>());
    lane_slot = {serial_, histograms_.back().get()};
  }
  return *lane_slot.histogram;
}

Histogram BandwidthLoop::TakeLatency() {
  Histogram all;
  const std::lock_guard lock(mutex_);
  for (const auto& histogram : histograms_) {
    all.Merge(*histogram);
    *histogram = Histogram();
  }
  return all;
}

}  // namespace mcp::perf
