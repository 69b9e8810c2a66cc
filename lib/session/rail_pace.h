// How much of a stream one rail should hold at once, and in pieces of which size: learned from how fast it gave back
// what it was dealt before.
//
// Pieces cost: each is a frame, an acknowledgement, and two crossings between lanes. A fast rail takes long ones, so
// that a stream costs about what bulk does there; a slow one takes short ones and holds few of them, since what it
// holds no other rail can carry.
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
  static constexpr uint64_t kHeldBytesMax = 4 * kPieceBytesMax;
  // Until something is known: what 100 Gb/s hold in 80 us.
  static constexpr uint64_t kHeldBytesFirst = uint64_t{1} << 20;
  // Beyond the round trip. Of all rails, the last is done so much later than the first at most.
  static constexpr int64_t kHeldNs = 2'000'000;

  // Bytes of a stream that the rail should hold.
  uint64_t held_bytes() const { return held_bytes_; }
  // Of one piece; four of them make up what is held, so that the next is there before the last has left.
  uint64_t piece_bytes() const {
    return std::clamp(held_bytes_ / 4 / kUnitBytes * kUnitBytes, kPieceBytesMin, kPieceBytesMax);
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
    if (first_out_) latency_ns_ = std::min(latency_ns_ + latency_ns_ / 4, took_ns);
    first_out_ = false;
    bytes_ += bytes;
    ns_ += took_ns;
    Learn();
  }

 private:
  static constexpr int64_t kLatencyNsMax = 1'000'000'000;
  static constexpr uint64_t kLearnFromBytes = 4 * kUnitBytes;
  static constexpr uint64_t kMemoryBytes = uint64_t{4} << 20;

  void Learn() {
    if (bytes_ < kLearnFromBytes) return;
    const double bytes_per_ns = static_cast<double>(bytes_) / static_cast<double>(std::max<int64_t>(ns_, 1));
    const double held = bytes_per_ns * static_cast<double>(kHeldNs + latency_ns_);
    held_bytes_ = std::clamp(static_cast<uint64_t>(held), kHeldBytesMin, kHeldBytesMax);
    if (bytes_ < kMemoryBytes) return;
    bytes_ /= 2;
    ns_ /= 2;
  }

  uint64_t held_bytes_ = kHeldBytesFirst;
  uint64_t bytes_out_ = 0;    // dealt, and not back
  int64_t busy_from_ns_ = 0;  // since when the rail works on what will be back next
  bool first_out_ = false;    // nothing was out before it
  // Of a piece that finds the rail idle: the least of late. It rises slowly, where the path has become longer.
  int64_t latency_ns_ = kLatencyNsMax;
  // What came back lately, and the time in which it did.
  uint64_t bytes_ = 0;
  int64_t ns_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_RAIL_PACE_H_
