#include "lib/session/rail_pace.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

constexpr uint64_t kUnit = RailPace::kUnitBytes;

// A rail that works one piece after another off, at that rate, for a path of that round trip. It holds what it should.
class Worked {
 public:
  void Run(RailPace* pace, double bytes_per_ns, int64_t rtt_ns, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes;) {
      const uint64_t held = pace->held_bytes();
      pace->OnDealt(held, now_ns_);
      now_ns_ += rtt_ns;
      for (uint64_t left = held; left > 0;) {
        const uint64_t piece = std::min(left, kUnit);
        now_ns_ += static_cast<int64_t>(static_cast<double>(piece) / bytes_per_ns);
        pace->OnBack(piece, true, now_ns_);
        left -= piece;
      }
      done += held;
    }
  }

 private:
  int64_t now_ns_ = 0;
};

TEST(RailPace, AFastRailHoldsMuchInLongPieces) {
  RailPace pace;
  EXPECT_EQ(pace.held_bytes(), RailPace::kHeldBytesFirst);
  Worked().Run(&pace, 3.0, 50'000, 64 << 20);
  EXPECT_EQ(pace.held_bytes(), RailPace::kHeldBytesMax);
  EXPECT_EQ(pace.piece_bytes(), RailPace::kPieceBytesMax);
}

TEST(RailPace, ASlowRailHoldsLittleInShortPieces) {
  RailPace pace;
  Worked().Run(&pace, 0.03, 50'000, 8 << 20);  // 250 Mb/s
  EXPECT_EQ(pace.held_bytes(), RailPace::kHeldBytesMin);
  EXPECT_EQ(pace.piece_bytes(), RailPace::kPieceBytesMin);
}

TEST(RailPace, AMiddlingRailHoldsWhatItCarriesInAMoment) {
  RailPace pace;
  Worked().Run(&pace, 0.25, 50'000, 32 << 20);
  EXPECT_GT(pace.held_bytes(), 1'900'000u);
  EXPECT_LT(pace.held_bytes(), 2'300'000u);
  EXPECT_EQ(pace.piece_bytes(), 7 * kUnit);
}

TEST(RailPace, ALongRoundTripIsFilled) {
  RailPace pace;
  Worked().Run(&pace, 0.5, 20'000'000, 512 << 20);
  EXPECT_GT(pace.held_bytes(), 10'000'000u);
}

TEST(RailPace, APathThatBecameLongerIsFilledTo) {
  RailPace pace;
  Worked worked;
  worked.Run(&pace, 0.5, 50'000, 64 << 20);
  worked.Run(&pace, 0.5, 20'000'000, 256 << 20);
  EXPECT_GT(pace.held_bytes(), 10'000'000u);
}

// What it gives back tells then of what it holds, not of what it can: with little held it would hold little for ever.
TEST(RailPace, ARailWhoseAcknowledgementsAreLateAtTimesHoldsWhatItDid) {
  RailPace pace;
  Worked worked;
  worked.Run(&pace, 0.25, 50'000, 64 << 20);
  const uint64_t before = pace.held_bytes();
  worked.Run(&pace, 0.25, 10'000'000, 16 << 20);
  EXPECT_GE(pace.held_bytes(), before * 3 / 4);
}

TEST(RailPace, ARailThatBecameSlowIsKnownAfterOneMessage) {
  RailPace pace;
  Worked worked;
  worked.Run(&pace, 3.0, 50'000, 64 << 20);
  worked.Run(&pace, 0.06, 50'000, 1);
  EXPECT_LT(pace.bytes_per_ns(), 0.08);
  EXPECT_EQ(pace.piece_bytes(), RailPace::kPieceBytesMin);
  worked.Run(&pace, 3.0, 50'000, 48 << 20);
  EXPECT_GT(pace.bytes_per_ns(), 1.5) << "and fast again after a few";
  EXPECT_EQ(pace.piece_bytes(), RailPace::kPieceBytesMax);
}

TEST(RailPace, WhatFailedTellsOfNoRate) {
  RailPace pace;
  pace.OnDealt(2 * kUnit, 0);
  pace.OnBack(kUnit, false, 1);
  pace.OnBack(kUnit, false, 2);
  EXPECT_EQ(pace.held_bytes(), RailPace::kHeldBytesFirst);
}

}  // namespace
}  // namespace mcp::internal
