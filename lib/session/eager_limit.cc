#include "lib/session/eager_limit.h"

#include <algorithm>
#include <bit>

#include "lib/base/assert.h"

namespace mcp::internal {
namespace {

// Of messages that end; at 3 GB/s in 1.4 ms.
constexpr uint64_t kStretchBytes = uint64_t{4} << 20;
// A size class of less than this share of a stretch's bytes is not worth a trial.
constexpr uint64_t kWorthOneIn = 4;
// A change needs all pairs but so many to favour it, and most of them by so much: what stalls one stretch says nothing.
constexpr uint32_t kAgainst = 2;
constexpr double kGain = 1.05;
// The first pairs decide if each of them says so by so much.
constexpr uint32_t kClearPairs = 3;
constexpr double kClearGain = 1.25;
// Stretches until the next trial of a size class: so many for each one that the last trial cost, and so many at least.
constexpr double kRestPerExcess = 100;
constexpr uint32_t kRestMin = 8;
constexpr uint32_t kRestMax = 4096;
// A trial of which a stretch takes longer is given up: the traffic is another by then.
constexpr int64_t kStretchNsMax = 1'000'000'000;
// What is announced and not granted for so long waits for its receive.
constexpr int64_t kStuckNs = 2'000'000;

}  // namespace

EagerLimit::EagerLimit(uint64_t always, uint64_t most, std::optional<Protocol> forced)
    : always_(always),
      most_(forced.has_value() && *forced != Protocol::kEager ? always : std::max(always, most)),
      forced_(forced == Protocol::kEager) {
  classes_[0].whole = true;  // the best guess: where either way wins somewhere, it is by little
}

uint32_t EagerLimit::ClassOf(uint64_t bytes) const {
  const uint64_t octaves = (bytes - 1) / std::max<uint64_t>(always_, 1);
  return std::min<uint32_t>(static_cast<uint32_t>(std::bit_width(octaves)) - 1, kClasses - 1);
}

bool EagerLimit::Begin(uint64_t bytes, Room room, int64_t now_ns) {
  MCP_ASSERT(Decides(bytes));
  const uint64_t ended = ended_bytes_.load(std::memory_order_acquire);
  const uint64_t under_way = begun_bytes_ - ended - StuckBytes(now_ns);
  const bool alone = bytes + under_way <= most_;
  Class& mine = classes_[ClassOf(bytes)];
  CountTime(ended, under_way == 0, now_ns);
  if (!alone) mine.bytes += bytes;
  stretch_.late |= room == Room::kLate;
  const bool tried = trial_.other_way && &mine == &classes_[trial_.size_class];
  const bool whole = room == Room::kEnough && (forced_ || alone || mine.whole != tried);
  begun_bytes_ += bytes;
  (whole ? whole_bytes_ : waiting_bytes_) += bytes;
  if (whole) admitted_.store(admitted_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return whole;
}

uint64_t EagerLimit::StuckBytes(int64_t now_ns) {
  if (now_ns >= stuck_.until_ns) {
    stuck_ = {.until_ns = now_ns + kStuckNs, .bytes = stuck_.next_bytes, .next_bytes = waiting_bytes_};
  }
  stuck_.next_bytes = std::min(stuck_.next_bytes, waiting_bytes_);
  return std::min(stuck_.bytes, waiting_bytes_);
}

// Time counts while anything is under way.
void EagerLimit::CountTime(uint64_t ended, bool idle, int64_t now_ns) {
  const int64_t to_ns = idle ? std::min(now_ns, ended_ns_.load(std::memory_order_relaxed)) : now_ns;
  const int64_t busy_ns = std::max<int64_t>(to_ns - counted_to_ns_, 0);
  counted_to_ns_ = std::max(counted_to_ns_, now_ns);
  if (trial_.size_class != kClasses && now_ns - stretch_.begin_ns > kStretchNsMax) {
    trial_ = {};
    return BeginStretch(ended, now_ns);
  }
  if (!stretch_.settled) {
    if (ended < stretch_.settled_at) return;
    stretch_.settled = true;
    stretch_.from = ended;
    return;
  }
  stretch_.busy_ns += busy_ns;
  const uint64_t bytes = ended - stretch_.from;
  if (bytes < kStretchBytes || stretch_.busy_ns == 0) return;
  if (stretch_.late) {
    trial_ = {};
  } else {
    OnStretch(static_cast<double>(bytes) / static_cast<double>(stretch_.busy_ns));
  }
  BeginStretch(ended, now_ns);
}

// What is stuck would never let it settle.
void EagerLimit::BeginStretch(uint64_t ended, int64_t now_ns) {
  stretch_ = {.begin_ns = now_ns, .settled_at = begun_bytes_ - std::min(stuck_.bytes, waiting_bytes_), .from = ended};
  for (Class& each : classes_) each.bytes = 0;
}

// Stretches take turns: as before, the other way, the other way, as before.
void EagerLimit::OnStretch(double rate) {
  for (Class& each : classes_) {
    if (each.rest > 0) --each.rest;
  }
  if (trial_.size_class == kClasses) return BeginTrial();
  const bool second = trial_.before != 0;
  if (!second) {
    trial_.before = rate;
    trial_.other_way = !trial_.other_way;
    return;
  }
  const double gain = trial_.other_way ? rate / trial_.before : trial_.before / rate;
  trial_.before = 0;
  trial_.gains[trial_.pairs++] = gain;
  OnPair();
}

void EagerLimit::BeginTrial() {
  for (uint32_t i = 0; i < kClasses; ++i) {
    const uint32_t candidate = next_class_++ % kClasses;
    const Class& each = classes_[candidate];
    if (each.rest > 0 || each.bytes * kWorthOneIn < kStretchBytes) continue;
    trial_ = {.size_class = candidate};
    return;
  }
}

void EagerLimit::OnPair() {
  const auto begin = trial_.gains.begin();
  const auto end = begin + trial_.pairs;
  std::sort(begin, end);
  if (trial_.pairs == kClearPairs && trial_.gains[0] > kClearGain) return EndTrial(true);
  if (trial_.pairs == kClearPairs && trial_.gains[kClearPairs - 1] < 1 / kClearGain) return EndTrial(false);
  if (trial_.pairs == kPairs) EndTrial(trial_.gains[kPairs / 2] > kGain && trial_.gains[kAgainst] > 1);
}

void EagerLimit::EndTrial(bool change) {
  Class& tried = classes_[trial_.size_class];
  if (change) tried.whole = !tried.whole;
  // What the dearer way takes beyond the other: that is what a trial costs, this one or the next.
  const double gain = trial_.gains[trial_.pairs / 2];
  const double excess = trial_.pairs * std::max((change ? gain : 1 / gain) - 1, 0.0);
  tried.rest = static_cast<uint32_t>(std::clamp<double>(excess * kRestPerExcess, kRestMin, kRestMax));
  trial_ = {};
}

}  // namespace mcp::internal
