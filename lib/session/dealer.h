// Deals a stream's bytes to the rails: which one takes the next piece, and how long that is.
//
// A rail holds what it carries in a moment (rail_pace.h), of this stream a part of what it will carry of the rest at
// the rates of late: they may change, and what is not dealt yet can still be dealt otherwise (guided self-scheduling,
// Polychronopoulos and Kuck 1987). And no rail is dealt what it would be done with only after the others had carried
// all that is left (the rule of ECF, "an MPTCP path scheduler to manage heterogeneous paths", Lim et al. 2017): a slow
// rail holds enough for its path, and is not waited for.
//
// A plain value, for the session's home lane.
#ifndef MCP_LIB_SESSION_DEALER_H_
#define MCP_LIB_SESSION_DEALER_H_

#include <array>
#include <bit>
#include <cstdint>
#include <optional>

#include "lib/session/rail_mask.h"
#include "lib/session/rail_pace.h"

namespace mcp::internal {

// What one stream has on the rails.
struct Dealt {
  uint64_t bytes_unsent = 0;
  std::array<uint64_t, kRailsMax> bytes_held{};  // by each rail
  uint32_t first_rail = 0;                       // streams begin on the rails in turn
};

class Dealer {
 public:
  struct Piece {
    uint32_t rail;
    uint64_t bytes;
  };

  // The next piece of the stream, by one of `rails`; none when each holds what it should.
  std::optional<Piece> Next(const Dealt& dealt, RailMask rails) const {
    for (RailMask left = rails; left != 0;) {
      const uint32_t rail = LeastFilled(dealt, left, rails);
      if (dealt.bytes_held[rail] >= Room(dealt, rail, rails)) return std::nullopt;  // and so it is with the others
      const uint64_t bytes = std::min(PieceBytes(dealt, rail, rails), UntilOthersAreDone(dealt, rail, rails));
      if (bytes >= RailPace::kUnitBytes) return Piece{rail, bytes / RailPace::kUnitBytes * RailPace::kUnitBytes};
      left &= ~(RailMask{1} << rail);
    }
    return std::nullopt;
  }

  // A stream of so many bytes begins.
  Dealt Begin(uint64_t bytes, uint32_t first_rail, int64_t now_ns) {
    for (RailPace& pace : paces_) pace.Begin(now_ns);
    return {.bytes_unsent = bytes, .first_rail = first_rail};
  }
  void OnDealt(Dealt* dealt, uint32_t rail, uint64_t bytes, int64_t now_ns) {
    dealt->bytes_unsent -= bytes;
    dealt->bytes_held[rail] += bytes;
    paces_[rail].OnDealt(bytes, now_ns);
  }
  void OnBack(Dealt* dealt, uint32_t rail, uint64_t bytes, bool arrived, int64_t now_ns) {
    dealt->bytes_held[rail] -= bytes;
    paces_[rail].OnBack(bytes, arrived, now_ns);
  }

  const RailPace& pace(uint32_t rail) const { return paces_[rail]; }

 private:
  // Of what a rail will carry of the rest of a stream, dealt at once. With half of it fast links waited for what comes
  // next: 8 MiB took 1.26 of bulk's time, and not 1.0.
  static constexpr double kShareAtOnce = 0.75;
  static constexpr uint64_t kAny = uint64_t{1} << 62;

  // Until rates are known, all are taken for equal.
  uint64_t Room(const Dealt& dealt, uint32_t rail, RailMask rails) const {
    const RailPace& pace = paces_[rail];
    double share = 1.0 / std::popcount(rails);
    double bytes_per_ns = 0;
    uint64_t left_bytes = dealt.bytes_unsent;
    bool known = true;
    for (RailMask left = rails; left != 0; left &= left - 1) {
      const int other = std::countr_zero(left);
      known = known && paces_[other].bytes_per_ns() > 0;
      bytes_per_ns += paces_[other].bytes_per_ns();
      left_bytes += dealt.bytes_held[other];
    }
    if (known) share = pace.bytes_per_ns() / bytes_per_ns;
    const auto fair = static_cast<uint64_t>(kShareAtOnce * share * static_cast<double>(left_bytes));
    return std::max(RailPace::kPieceBytesMin, std::min(pace.held_bytes(), fair));
  }

  // Among `of`, by what they should hold.
  uint32_t LeastFilled(const Dealt& dealt, RailMask of, RailMask rails) const {
    uint32_t best = kRailsMax;
    for (uint32_t i = 0; i < kRailsMax; ++i) {
      const uint32_t rail = (dealt.first_rail + i) % kRailsMax;
      if ((of >> rail & 1) == 0) continue;
      if (best == kRailsMax ||
          dealt.bytes_held[rail] * Room(dealt, best, rails) < dealt.bytes_held[best] * Room(dealt, rail, rails)) {
        best = rail;
      }
    }
    return best;
  }

  // What suits the rail, but towards the end no more than its share, so that all have something to do.
  uint64_t PieceBytes(const Dealt& dealt, uint32_t rail, RailMask rails) const {
    const uint64_t suits = paces_[rail].piece_bytes();
    const uint64_t share = dealt.bytes_unsent / static_cast<uint64_t>(std::popcount(rails));
    return std::max(RailPace::kUnitBytes, std::min(suits, std::max(share, suits / 4)));
  }

  // That the rail could carry until the others had carried all that is left. The one that would be done with a piece
  // first may have it all the same: what several rails would carry together may be one piece.
  uint64_t UntilOthersAreDone(const Dealt& dealt, uint32_t rail, RailMask rails) const {
    const RailPace& pace = paces_[rail];
    const double mine_ns = pace.DoneInNs(RailPace::kUnitBytes);
    double bytes = static_cast<double>(dealt.bytes_unsent);
    double bytes_per_ns = 0;
    bool soonest = true;
    for (RailMask left = rails & ~(RailMask{1} << rail); left != 0; left &= left - 1) {
      const RailPace& other = paces_[std::countr_zero(left)];
      if (other.bytes_per_ns() == 0) return kAny;
      bytes += static_cast<double>(other.bytes_out());
      bytes_per_ns += other.bytes_per_ns();
      soonest = soonest && mine_ns <= other.DoneInNs(RailPace::kUnitBytes);
    }
    if (soonest || pace.bytes_per_ns() == 0) return kAny;
    const double until = bytes / bytes_per_ns * pace.bytes_per_ns() - static_cast<double>(pace.bytes_out());
    return static_cast<uint64_t>(std::max(until, 0.0));
  }

  std::array<RailPace, kRailsMax> paces_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_DEALER_H_
