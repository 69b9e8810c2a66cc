#include "lib/session/dealer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <queue>
#include <vector>

namespace mcp::internal {
namespace {

constexpr int64_t kDelayNs = 50'000;
constexpr uint64_t kMiB = uint64_t{1} << 20;

// First in, first out, at a rate.
struct Link {
  double bytes_per_ns = 0;
  int64_t free_ns = 0;

  int64_t Carry(uint64_t bytes, int64_t now_ns) {
    const int64_t takes_ns = static_cast<int64_t>(static_cast<double>(bytes) / bytes_per_ns);
    free_ns = std::max(free_ns, now_ns) + takes_ns;
    return free_ns + kDelayNs;
  }
};

// Rails whose payload takes one link and whose frames may take another, as those of a TCP connection do, in virtual
// time: a piece is back when both are there.
class World {
 public:
  struct RailLinks {
    size_t payload;
    size_t frames;
  };
  World(std::vector<double> bytes_per_ns, std::vector<RailLinks> rails) : rails_(std::move(rails)) {
    for (const double rate : bytes_per_ns) links_.push_back({rate});
    back_ns_.resize(rails_.size());
  }

  Link& link(size_t index) { return links_[index]; }
  void Pass(int64_t ns) { now_ns_ += ns; }

  // Of one message: until its last piece is back.
  int64_t Send(uint64_t bytes) {
    const int64_t began_ns = now_ns_;
    Dealt dealt = dealer_.Begin(bytes, turn_++ % static_cast<uint32_t>(rails_.size()), now_ns_);
    Deal(&dealt);
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ns_ = event.at_ns;
      dealer_.OnBack(&dealt, event.rail, event.bytes, true, now_ns_);
      Deal(&dealt);
    }
    EXPECT_EQ(dealt.bytes_unsent, 0u) << "nobody is left to deal the rest";
    return now_ns_ - began_ns;
  }
  // The mean of `count` messages, after as many to learn from.
  double MeanNs(uint64_t bytes, int count) {
    for (int i = 0; i < count; ++i) Send(bytes);
    int64_t sum_ns = 0;
    for (int i = 0; i < count; ++i) sum_ns += Send(bytes);
    return static_cast<double>(sum_ns) / count;
  }

 private:
  struct Event {
    int64_t at_ns;
    uint32_t rail;
    uint64_t bytes;
    bool operator<(const Event& other) const { return at_ns > other.at_ns; }
  };

  void Deal(Dealt* dealt) {
    const RailMask rails = (RailMask{1} << rails_.size()) - 1;
    while (dealt->bytes_unsent > 0) {
      const std::optional<Dealer::Piece> next = dealer_.Next(*dealt, rails);
      if (!next.has_value()) return;
      const uint32_t rail = next->rail;
      const uint64_t piece = std::min(dealt->bytes_unsent, next->bytes);
      dealer_.OnDealt(dealt, rail, piece, now_ns_);
      const int64_t frame_ns = links_[rails_[rail].frames].Carry(64, now_ns_);
      const int64_t payload_ns = links_[rails_[rail].payload].Carry(piece, now_ns_);
      back_ns_[rail] = std::max({back_ns_[rail], frame_ns, payload_ns}) + kDelayNs;
      events_.push({back_ns_[rail], rail, piece});
    }
  }

  std::vector<Link> links_;
  std::vector<RailLinks> rails_;
  std::vector<int64_t> back_ns_;
  std::priority_queue<Event> events_;
  Dealer dealer_;
  int64_t now_ns_ = 0;
  uint32_t turn_ = 0;
};

constexpr double kFast = 0.25, kSlow = 0.0625;  // 2 Gb/s and 500 Mb/s

double IdealNs(uint64_t bytes, double bytes_per_ns) { return static_cast<double>(bytes) / bytes_per_ns; }

TEST(Dealer, UnequalRailsAreDoneTogether) {
  World world({kFast, kSlow}, {{0, 0}, {1, 1}});
  EXPECT_LT(world.MeanNs(8 * kMiB, 50), 1.05 * IdealNs(8 * kMiB, kFast + kSlow));
  World turned({kSlow, kFast}, {{0, 0}, {1, 1}});
  EXPECT_LT(turned.MeanNs(8 * kMiB, 50), 1.05 * IdealNs(8 * kMiB, kFast + kSlow));
  World far_apart({1.25, 0.0125}, {{0, 0}, {1, 1}});
  EXPECT_LT(far_apart.MeanNs(8 * kMiB, 50), 1.05 * IdealNs(8 * kMiB, 1.25 + 0.0125));
}

// Windows of what was given back in the least round trip of late: 2.5 times the ideal, both rails at the rate of the
// slow one, for good.
TEST(Dealer, AFastRailIsNotHeldUpByFramesBehindASlowOnesPayload) {
  World world({kFast, kSlow}, {{0, 1}, {1, 1}});
  EXPECT_LT(world.MeanNs(8 * kMiB, 50), 1.35 * IdealNs(8 * kMiB, kFast + kSlow));
  World crossed({kFast, kSlow}, {{0, 1}, {1, 0}});
  EXPECT_LT(crossed.MeanNs(8 * kMiB, 50), 1.35 * IdealNs(8 * kMiB, kFast + kSlow));
}

TEST(Dealer, EqualRailsAreDoneTogether) {
  World world({0.125, 0.125}, {{0, 0}, {1, 1}});
  EXPECT_LT(world.MeanNs(8 * kMiB, 50), 1.05 * IdealNs(8 * kMiB, 0.25));
  World three({0.1, 0.1, 0.1}, {{0, 0}, {1, 1}, {2, 2}});
  EXPECT_LT(three.MeanNs(8 * kMiB, 50), 1.05 * IdealNs(8 * kMiB, 0.3));
}

TEST(Dealer, MessagesOfAnyLengthEnd) {
  World world({kFast, kSlow, 0.01}, {{0, 0}, {1, 1}, {2, 2}});
  for (uint64_t bytes = 512 << 10; bytes < 4 * kMiB; bytes += 100'000) world.Send(bytes);
  EXPECT_LT(world.MeanNs(kMiB, 20), 1.6 * IdealNs(kMiB, kFast + kSlow));
}

TEST(Dealer, ARailThatBecameSlowIsLeftItsShareAndGetsItBack) {
  World world({2.5, 2.5}, {{0, 0}, {1, 1}});
  world.MeanNs(8 * kMiB, 20);
  world.link(1).bytes_per_ns = kSlow;
  for (int i = 0; i < 5; ++i) world.Send(8 * kMiB);
  EXPECT_LT(world.Send(8 * kMiB), 1.1 * IdealNs(8 * kMiB, 2.5 + kSlow));
  world.link(1).bytes_per_ns = 2.5;
  for (int i = 0; i < 10; ++i) world.Send(8 * kMiB);
  EXPECT_LT(world.Send(8 * kMiB), 1.1 * IdealNs(8 * kMiB, 5));
}

TEST(Dealer, WhatWasLongAgoIsForgotten) {
  World world({2.5, 2.5}, {{0, 0}, {1, 1}});
  world.MeanNs(8 * kMiB, 20);
  world.Pass(1'000'000'000);
  world.link(0).bytes_per_ns = kFast;
  world.link(1).bytes_per_ns = kSlow;
  EXPECT_LT(world.Send(8 * kMiB), 1.2 * IdealNs(8 * kMiB, kFast + kSlow)) << "2.5 without";
}

TEST(Dealer, ARailThatIsAwayTakesNothing) {
  Dealer dealer;
  Dealt dealt = dealer.Begin(8 * kMiB, 0, 0);
  while (const std::optional<Dealer::Piece> piece = dealer.Next(dealt, 0b10)) {
    ASSERT_EQ(piece->rail, 1u);
    dealer.OnDealt(&dealt, piece->rail, piece->bytes, 0);
  }
  EXPECT_EQ(dealt.bytes_held[1], RailPace::kHeldBytesFirst);
}

}  // namespace
}  // namespace mcp::internal
