#include "lib/session/eager_limit.h"

#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace mcp::internal {
namespace {

using Room = EagerLimit::Room;

constexpr uint64_t kAlways = 8 << 10;
constexpr uint64_t kMost = 64 << 10;
constexpr uint64_t kMiddling = 16 << 10;
constexpr uint64_t kLong = 64 << 10;
constexpr uint64_t kSeed = 7;

// A sender that keeps so many messages under way, and a path that works on one after another.
class Flood {
 public:
  // What a message takes the path, by its size and the way it goes. Its receive is there.
  using Cost = std::function<double(uint64_t bytes, bool whole)>;

  Flood(EagerLimit* limit, Cost cost) : limit_(limit), cost_(std::move(cost)) {}

  void Run(uint64_t messages, const std::vector<uint64_t>& sizes, size_t outstanding = 16) {
    for (uint64_t i = 0; i < messages; ++i) {
      while (queue_.size() >= outstanding) EndOne();
      const uint64_t bytes = sizes[i % sizes.size()];
      const bool whole = limit_->Begin(bytes, ++begun_ % late_every_ == 0 ? Room::kLate : Room::kEnough, now_ns_);
      if (!whole) limit_->Granted(bytes);
      whole_ += whole;
      const double noise = 1 + 0.1 * (random_.Unit() - 0.5) + (random_.Below(1000) == 0 ? 100 : 0);
      const double begins_ns = std::max(static_cast<double>(now_ns_), free_ns_);
      free_ns_ = begins_ns + cost_(bytes, whole) * noise;
      queue_.push_back({bytes, whole, static_cast<int64_t>(free_ns_)});
    }
  }
  void Drain() {
    while (!queue_.empty()) EndOne();
  }
  void Pause(int64_t ns) { now_ns_ += ns; }
  // The receiver has no room for one message of so many.
  void BeLateEvery(uint64_t messages) { late_every_ = messages; }
  void SetCost(Cost cost) { cost_ = std::move(cost); }
  // Share of the messages since the last call that went whole.
  double TakeWholeShare(uint64_t messages) {
    return static_cast<double>(std::exchange(whole_, 0)) / static_cast<double>(messages);
  }
  int64_t now_ns() const { return now_ns_; }

 private:
  void EndOne() {
    now_ns_ = std::max(now_ns_, queue_.front().end_ns);
    const Message& front = queue_.front();
    front.whole ? limit_->EndWhole(front.bytes, front.end_ns) : limit_->End(front.bytes, front.end_ns);
    queue_.pop_front();
  }

  struct Message {
    uint64_t bytes;
    bool whole;
    int64_t end_ns;
  };
  EagerLimit* limit_;
  Cost cost_;
  Random random_{kSeed};
  std::deque<Message> queue_;
  int64_t now_ns_ = 1000;
  double free_ns_ = 0;
  uint64_t whole_ = 0;
  uint64_t begun_ = 0;
  uint64_t late_every_ = ~uint64_t{0};
};

// Whole ones take `ratio` times as long, and a byte a third of a nanosecond.
Flood::Cost WholeTakes(double ratio) {
  return [ratio](uint64_t bytes, bool whole) { return static_cast<double>(bytes) / 3 * (whole ? ratio : 1.0); };
}

TEST(EagerLimit, DecidesWhatIsNeitherShortNorTooLong) {
  const EagerLimit limit(kAlways, kMost, std::nullopt);
  EXPECT_TRUE(limit.IsShort(0));
  EXPECT_TRUE(limit.IsShort(kAlways));
  EXPECT_FALSE(limit.Decides(kAlways));
  EXPECT_TRUE(limit.Decides(kAlways + 1));
  EXPECT_TRUE(limit.Decides(kMost));
  EXPECT_FALSE(limit.Decides(kMost + 1));
  EXPECT_FALSE(limit.IsShort(kMost + 1));
}

TEST(EagerLimit, AMessageAloneGoesWhole) {
  EagerLimit limit(kAlways, kMost, std::nullopt);
  EXPECT_TRUE(limit.Begin(kMost, Room::kEnough, 0));
  EXPECT_FALSE(limit.Begin(kMost, Room::kEnough, 0)) << "beside another";
  limit.Granted(kMost);
  limit.EndWhole(kMost, 10);
  limit.End(kMost, 20);
  EXPECT_TRUE(limit.Begin(30'000, Room::kEnough, 30));
  EXPECT_TRUE(limit.Begin(30'000, Room::kEnough, 30)) << "together no more than one may have";
  EXPECT_EQ(limit.whole_bytes(), 60'000u);
  EXPECT_EQ(limit.admitted(), 3u);
}

// It would be held there, and so is everything else that is sent.
TEST(EagerLimit, WhereTheReceiverIsLateNothingGoesWhole) {
  for (const std::optional<Protocol> forced : {std::optional<Protocol>(), std::optional(Protocol::kEager)}) {
    EagerLimit limit(kAlways, kMost, forced);
    EXPECT_FALSE(limit.Begin(kMiddling, Room::kLate, 0));
    EXPECT_FALSE(limit.Begin(kMiddling, Room::kFull, 0));
    EXPECT_TRUE(limit.Begin(kMiddling, Room::kEnough, 0));
  }
}

// What a stretch of whole messages leaves to be held is no measure of how fast they are.
TEST(EagerLimit, StretchesInWhichTheReceiverWasLateDecideNothing) {
  EagerLimit limit(kAlways, kMost, std::nullopt);
  Flood flood(&limit, WholeTakes(0.3));
  flood.BeLateEvery(60);  // a stretch has 64
  flood.Run(100'000, {kLong});
  EXPECT_LT(flood.TakeWholeShare(100'000), 0.01);
  flood.BeLateEvery(~uint64_t{0});
  flood.Run(2'000, {kLong});
  flood.TakeWholeShare(1);
  flood.Run(10'000, {kLong});
  EXPECT_GT(flood.TakeWholeShare(10'000), 0.9);
}

// One that waits for a receive, perhaps for ever, is not under way.
TEST(EagerLimit, WhatIsStuckLeavesOthersAlone) {
  EagerLimit limit(kAlways, kMost, std::nullopt);
  EXPECT_TRUE(limit.Begin(kLong, Room::kEnough, 0));
  EXPECT_FALSE(limit.Begin(kLong, Room::kEnough, 0));  // stuck
  limit.EndWhole(kLong, 10);
  constexpr int64_t kEvery = 100'000;
  int64_t now_ns = 10;
  int whole = 0;
  for (int i = 0; i < 1000; ++i, now_ns += kEvery) {
    if (limit.Begin(40'000, Room::kEnough, now_ns)) {
      ++whole;
      limit.EndWhole(40'000, now_ns + kEvery / 2);
    } else {
      limit.Granted(40'000);
      limit.End(40'000, now_ns + kEvery / 2);
    }
  }
  EXPECT_GT(whole, 950);
}

TEST(EagerLimit, WhatIsForcedIsNotTried) {
  EagerLimit eager(kAlways, kMost, Protocol::kEager);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(eager.Begin(kLong, Room::kEnough, i));
  for (const Protocol protocol : {Protocol::kBulk, Protocol::kStream}) {
    const EagerLimit announced(kAlways, kMost, protocol);
    EXPECT_TRUE(announced.IsShort(kAlways));
    EXPECT_FALSE(announced.Decides(kAlways + 1));
  }
}

// Its messages take no payload beyond what always goes whole.
TEST(EagerLimit, ATransportMayHaveNoRoomForMore) {
  const EagerLimit limit(kAlways, 0, std::nullopt);
  EXPECT_TRUE(limit.IsShort(kAlways));
  EXPECT_FALSE(limit.Decides(kAlways + 1));
}

// Whichever way is the faster is found within some 64 MiB, whatever the first guess was, and kept.
TEST(EagerLimit, AFloodGoesTheFasterWay) {
  for (const uint64_t bytes : {kMiddling, uint64_t{30'000}, kLong}) {
    for (const double ratio : {0.4, 0.8, 0.9, 1.12, 1.25, 2.5}) {
      SCOPED_TRACE(testing::Message() << bytes << " bytes, whole takes " << ratio);
      EagerLimit limit(kAlways, kMost, std::nullopt);
      Flood flood(&limit, WholeTakes(ratio));
      flood.Run((64 << 20) / bytes, {bytes});
      flood.TakeWholeShare(1);
      const uint64_t messages = (1 << 30) / bytes;
      flood.Run(messages, {bytes});
      const double share = flood.TakeWholeShare(messages);
      if (ratio < 1) {
        EXPECT_GT(share, 0.85);
      } else {
        EXPECT_LT(share, 0.15);
      }
    }
  }
}

TEST(EagerLimit, TrialsCostLittle) {
  for (const double ratio : {0.3, 0.9, 1.0, 1.1, 3.0}) {
    SCOPED_TRACE(ratio);
    EagerLimit limit(kAlways, kMost, std::nullopt);
    Flood flood(&limit, WholeTakes(ratio));
    flood.Run((64 << 20) / kLong, {kLong});
    const int64_t begin_ns = flood.now_ns();
    constexpr uint64_t kBytes = uint64_t{16} << 30;
    flood.Run(kBytes / kLong, {kLong});
    const double took_ns = static_cast<double>(flood.now_ns() - begin_ns);
    const double stalls = 1.1;  // one message of a thousand takes a hundred times as long
    EXPECT_LT(took_ns, static_cast<double>(kBytes) / 3 * std::min(ratio, 1.0) * stalls * 1.04);
  }
}

// Each size class for itself: the shorter ones whole, the longer ones announced.
TEST(EagerLimit, SizesMayDiffer) {
  EagerLimit limit(kAlways, kMost, std::nullopt);
  Flood flood(&limit, [](uint64_t bytes, bool whole) {
    return static_cast<double>(bytes) / 3 * (!whole ? 1 : bytes < 20'000 ? 0.7 : 1.4);
  });
  flood.Run(10'000, {kMiddling, kLong});
  flood.TakeWholeShare(1);
  flood.Run(50'000, {kMiddling, kLong});
  EXPECT_NEAR(flood.TakeWholeShare(50'000), 0.5, 0.03);
}

TEST(EagerLimit, FollowsAChange) {
  EagerLimit limit(kAlways, kMost, std::nullopt);
  Flood flood(&limit, WholeTakes(0.5));
  flood.Run(100'000, {kLong});
  flood.SetCost(WholeTakes(2));
  flood.Run(100'000, {kLong});  // 6 GiB, of which the next trial may be 1 GiB away
  flood.TakeWholeShare(1);
  flood.Run(100'000, {kLong});
  EXPECT_LT(flood.TakeWholeShare(100'000), 0.05);
}

// Between bursts nothing is under way: that time says nothing of either way.
TEST(EagerLimit, PausesDoNotCount) {
  EagerLimit limit(kAlways, kMost, std::nullopt);
  Flood flood(&limit, WholeTakes(0.5));
  constexpr uint64_t kBurst = 100;
  for (int i = 0; i < 200; ++i) {
    flood.Run(kBurst, {kLong});
    flood.Drain();
    flood.Pause(100'000'000);
  }
  flood.TakeWholeShare(1);
  for (int i = 0; i < 100; ++i) {
    flood.Run(kBurst, {kLong});
    flood.Drain();
    flood.Pause(100'000'000);
  }
  EXPECT_GT(flood.TakeWholeShare(100 * kBurst), 0.9);
}

}  // namespace
}  // namespace mcp::internal
