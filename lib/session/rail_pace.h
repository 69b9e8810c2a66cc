// What one rail does with a stream's pieces: at which rate it gives them back, and so how much it should hold at once,
// in pieces of which size.
//
// Pieces cost: each is a frame, an acknowledgement, and two crossings between lanes. A fast rail takes long ones, so
// that a stream costs about what bulk does there; a slow one takes short ones and holds few of them, since what it
// holds no other rail can carry.
//
// What a rail holds is taken from the highest rate of late, not from the mean. A round trip is not the rail's alone:
// its frames may wait behind the payload of a slower rail on the same link. With little held it gives back only that
// much in such a round trip, and would be dealt as little again: a fast rail was seen to carry what the slow one did,
// for good.
//
// A plain value, for the session's home lane.
#ifndef MCP_LIB_SESSION_RAIL_PACE_H_
#define MCP_LIB_SESSION_RAIL_PACE_H_

#include <algorithm>
#include <cstdint>

#include "lib/base/assert.h"
#include "lib/session/chunk_delivery.h"

namespace mcp::internal {

class RailPace {
 public:
  // Pieces begin and end at multiples of this, as tiles do.
  static constexpr uint64_t kUnitBytes = kTileUnitBytes;
  static constexpr uint64_t kPieceBytesMax = uint64_t{1} << 20;  // a tile
  // Shorter ones cost more than they leave to be decided where the processors are slow: over soft-RoCE between emulated
  // guests, 32 pieces of 64 KiB took 1.26 of bulk's time, and eight of 256 KiB 0.98.
  static constexpr uint64_t kPieceBytesMin = 2 * kUnitBytes;
  static constexpr uint64_t kHeldBytesMin = 4 * kPieceBytesMin;
  static constexpr uint64_t kHeldBytesMax = 16 * kPieceBytesMax;
  // Until something is known: what 100 Gb/s hold in 80 us.
  static constexpr uint64_t kHeldBytesFirst = uint64_t{1} << 20;
  // Beyond the round trip. Other work waits for so long behind a stream; and so long the slowest rail works on the
  // least that it holds, of those that are worth to be dealt anything.
  static constexpr int64_t kHeldNs = 8'000'000;

  // What was dealt and is not back.
  uint64_t bytes_out() const { return bytes_out_; }
  // At which it gives back what it holds; 0: not known yet.
  double bytes_per_ns() const {
    if (bytes_ < kLearnFromBytes) return 0;
    return static_cast<double>(bytes_) / static_cast<double>(std::max<int64_t>(ns_, 1));
  }
  // From now until it would have given back all that it holds, and so much more. 0: not known yet.
  double DoneInNs(uint64_t more_bytes) const {
    const double rate = bytes_per_ns();
    return rate == 0 ? 0 : static_cast<double>(bytes_out_ + more_bytes) / rate;
  }
  // Bytes of a stream that the rail should hold.
  uint64_t held_bytes() const { return held_bytes_; }
  // Of one piece: four of them are what it carries in a moment, so that the next is there before the last has left. By
  // the mean: where the rail may hold more than it needs, its pieces are short all the same.
  uint64_t piece_bytes() const {
    const uint64_t moment = static_cast<uint64_t>(bytes_per_ns() * static_cast<double>(kHeldNs));
    const uint64_t bytes = std::min(held_bytes_, moment == 0 ? held_bytes_ : moment) / 4;
    return std::clamp(bytes / kUnitBytes * kUnitBytes, kPieceBytesMin, kPieceBytesMax);
  }

  void OnDealt(uint64_t bytes, int64_t now_ns) {
    if (bytes_out_ == 0) {
      busy_from_ns_ = now_ns;
      first_out_ = true;
    }
    bytes_out_ += bytes;
  }
  // `arrived`: the peer has it. What was ended by an error tells of no rate.
  void OnBack(uint64_t bytes, bool arrived, int64_t now_ns) {
    MCP_ASSERT(bytes_out_ >= bytes);
    bytes_out_ -= bytes;
    const int64_t took_ns = now_ns - busy_from_ns_;
    busy_from_ns_ = now_ns;
    if (!arrived) return;
    if (first_out_) latency_ns_ = std::max(latency_ns_ - latency_ns_ / 8, took_ns);
    first_out_ = false;
    bytes_ += bytes;
    ns_ += took_ns;
    Learn();
    if (bytes_ >= kMemoryBytes) Fade();
  }
  // Another stream begins. What was seen long ago may no longer hold, and is forgotten: the first stream after one of
  // two links became slow, which bulk had found out meanwhile, took 83 ms where the next took 28, and the context layer
  // turned away from it.
  void Begin(int64_t now_ns) {
    if (bytes_out_ == 0 && now_ns - busy_from_ns_ > kForgetNs) *this = RailPace();
    Fade();
  }

 private:
  static constexpr uint64_t kLearnFromBytes = 4 * kUnitBytes;
  static constexpr uint64_t kMemoryBytes = uint64_t{4} << 20;
  static constexpr int64_t kForgetNs = 100'000'000;

  // What was seen before counts half.
  void Fade() {
    peak_bytes_per_ns_ -= peak_bytes_per_ns_ / 16;
    if (bytes_ >= 2 * kLearnFromBytes) {
      bytes_ /= 2;
      ns_ /= 2;
    }
    Learn();
  }
  void Learn() {
    if (bytes_ < kLearnFromBytes) return;
    peak_bytes_per_ns_ = std::max(peak_bytes_per_ns_, bytes_per_ns());
    const double held = peak_bytes_per_ns_ * static_cast<double>(kHeldNs + latency_ns_);
    held_bytes_ = std::clamp(static_cast<uint64_t>(held), kHeldBytesMin, kHeldBytesMax);
  }

  uint64_t held_bytes_ = kHeldBytesFirst;
  uint64_t bytes_out_ = 0;    // dealt, and not back
  int64_t busy_from_ns_ = 0;  // since when the rail works on what will be back next
  bool first_out_ = false;    // nothing was out before it
  // Of a piece that finds the rail idle: the longest of late.
  int64_t latency_ns_ = 0;
  double peak_bytes_per_ns_ = 0;
  // What came back lately, and the time in which it did.
  uint64_t bytes_ = 0;
  int64_t ns_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_RAIL_PACE_H_
