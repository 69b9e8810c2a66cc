// Waiting, waking, and lanes on threads of their own. Each node is polled by one thread only, as lanes are.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/transport_fixture.h"

namespace mcp::internal {
namespace {

class TransportThread : public TransportContract {
 protected:
  // Waits and polls, on the node's thread, until done or the bound.
  bool WaitUntil(TransportNode* node, absl::FunctionRef<bool()> done) {
    const int64_t deadline_ns = Soon();
    while (!done()) {
      if (clock()->NowNs() > deadline_ns) return false;
      node->transport()->Wait(deadline_ns);
      node->Poll();
    }
    return true;
  }

  // What a landing's side tells the other.
  struct Told {
    uint64_t key = 0;
    RemoteWindow window;
  };

  // b's thread: takes one peer in and tells it of the landing, if there is one.
  ConnectionId AcceptOne(const Destination* landing) {
    Told told;
    if (landing != nullptr) told.key = landing->key;
    if (landing != nullptr && landing->grant != nullptr) told.window = landing->grant->window();
    EXPECT_TRUE(WaitUntil(b(), [&] { return !b()->pending.empty(); }));
    if (b()->pending.empty()) return 0;
    const auto id = b()->transport()->Accept(std::move(b()->pending.front()),
                                             {reinterpret_cast<const std::byte*>(&told), sizeof(told)}, nullptr);
    b()->pending.pop_front();
    EXPECT_TRUE(id.ok()) << id.status();
    return id.ok() ? *id : 0;
  }
  // a's thread. The peer may have closed by the time it returns.
  ConnectionId ConnectOne(Told* told) {
    const auto id = a()->transport()->Connect(address(), 0, AsBytes("hi"), nullptr, Soon());
    EXPECT_TRUE(id.ok()) << id.status();
    if (!id.ok()) return 0;
    std::string reply;
    EXPECT_TRUE(WaitUntil(a(), [&] { return a()->connected.count(*id) > 0 || a()->closed.count(*id) > 0; }));
    if (a()->connected.count(*id) > 0) reply = a()->connected[*id];
    if (reply.size() == sizeof(*told)) std::memcpy(told, reply.data(), sizeof(*told));
    return *id;
  }
};

INSTANTIATE_TEST_SUITE_P(Every, TransportThread, testing::ValuesIn(AllTransportCases()), TransportCaseName);

// A Wait may end early: for what setting up left behind, or because the kernel interrupts it (a ring that another test
// closed is torn down on this thread). What counts is that a lane sleeps through an idle time and not beyond it.
TEST_P(TransportThread, WaitEndsAtItsDeadline) {
  constexpr int64_t kLimitNs = 20'000'000;
  constexpr int kEarlyEndsMax = 16;
  const int64_t deadline_ns = clock()->NowNs() + kLimitNs;
  int waits = 0;
  while (clock()->NowNs() < deadline_ns) {
    a()->Poll();
    a()->transport()->Wait(deadline_ns);
    ++waits;
  }
  EXPECT_GE(waits, 1);
  EXPECT_LE(waits, kEarlyEndsMax);
  EXPECT_LT(clock()->NowNs() - deadline_ns, 100 * kLimitNs);
  a()->transport()->Wait(clock()->NowNs() - 1);  // a deadline that has passed
}

TEST_P(TransportThread, WakeEndsTheNextWait) {
  a()->Poll();
  a()->transport()->Wake();
  a()->transport()->Wait(std::numeric_limits<int64_t>::max());
  SUCCEED() << "it returned";
}

TEST_P(TransportThread, WakeEndsAPresentWait) {
  std::atomic<int> waits{0};
  std::atomic<bool> stop{false};
  std::thread lane([&] {
    while (!stop.load()) {
      a()->transport()->Wait(std::numeric_limits<int64_t>::max());
      ++waits;
      a()->Poll();
    }
  });
  for (int seen = 0; seen < 200; ++seen) {
    a()->transport()->Wake();
    while (waits.load() <= seen) std::this_thread::yield();
  }
  stop = true;
  a()->transport()->Wake();
  lane.join();
}

TEST_P(TransportThread, PingPongBetweenSleepingLanes) {
  constexpr uint64_t kRounds = 500;
  std::thread echo([&] {
    const ConnectionId id = AcceptOne(nullptr);
    for (uint64_t i = 0; i < kRounds; ++i) {
      ASSERT_TRUE(WaitUntil(b(), [&] { return b()->messages.size() > i; })) << "round " << i;
      const WorkRequest work = MessageWork(id, AsBytes(b()->messages[i].bytes));
      ASSERT_EQ(b()->transport()->Post({&work, 1}), 1u);
      b()->Poll();
    }
  });
  Told told;
  const ConnectionId id = ConnectOne(&told);
  for (uint64_t i = 0; i < kRounds; ++i) {
    const std::string text = std::to_string(i);
    const WorkRequest work = MessageWork(id, AsBytes(text));
    EXPECT_EQ(a()->transport()->Post({&work, 1}), 1u);
    a()->Poll();
    if (!WaitUntil(a(), [&] { return a()->messages.size() > i; })) {
      ADD_FAILURE() << "round " << i;
      break;
    }
    EXPECT_EQ(a()->messages[i].bytes, text);
  }
  echo.join();
}

// Both lanes sleep whenever they can: no wake-up is lost in either direction, with back-pressure in between.
TEST_P(TransportThread, FloodAcrossThreads) {
  constexpr uint64_t kWorks = 4000;
  constexpr uint64_t kSize = 100'000;
  const std::vector<std::byte> payload = PatternBytes(kSize, 6);
  std::atomic<bool> done{false};
  std::thread receiver([&] {
    Destination landing(b(), kSize);
    const ConnectionId id = AcceptOne(&landing);
    uint64_t arrived = 0;
    b()->keep_messages = false;
    b()->on_message = [&](const Event& event) {
      uint64_t number;
      ASSERT_GE(event.data_bytes, sizeof(number));
      ASSERT_EQ(event.connection, id);
      std::memcpy(&number, event.data, sizeof(number));
      EXPECT_EQ(number, arrived++);
      const absl::Span<const std::byte> rest(event.data + sizeof(number), event.data_bytes - sizeof(number));
      if (number % 64 == 0) {
        EXPECT_EQ(PatternMismatch(rest, 6), "");
      }
    };
    EXPECT_TRUE(WaitUntil(b(), [&] { return arrived == kWorks; })) << arrived << " arrived";
    done = true;
    a()->transport()->Wake();
  });
  Told told;
  const ConnectionId id = ConnectOne(&told);
  Random random(3);
  for (uint64_t i = 0; i < kWorks; ++i) {
    const absl::Span<const std::byte> header(reinterpret_cast<const std::byte*>(&i), sizeof(i));
    const absl::Span<const std::byte> all = payload;
    WorkRequest work = random.Below(8) == 0 ? WriteWork(id, header, all.first(random.Below(kSize)), told.key, 0)
                                            : MessageWork(id, header, all.first(random.Below(1000)));
    work.window = told.window;
    bool posted = false;
    EXPECT_TRUE(WaitUntil(a(), [&] { return posted = posted || a()->transport()->Post({&work, 1}) == 1; }));
    a()->Poll();
  }
  EXPECT_TRUE(WaitUntil(a(), [&] { return done.load(); }));
  receiver.join();
}

// Closing from either lane while the other is in the middle of everything.
TEST_P(TransportThread, ClosesUnderFire) {
  constexpr int kTimes = 40;
  constexpr uint64_t kSize = 1 << 20;
  Random random(4);
  struct Turn {
    bool client_closes;
    uint64_t works;
  };
  std::vector<Turn> turns;
  for (int i = 0; i < kTimes; ++i) turns.push_back({random.Below(2) == 0, random.Below(30)});

  const bool by_reference = LeavesByReference(a());
  std::thread server([&] {
    for (const Turn& turn : turns) {
      Destination landing(b(), kSize);
      const ConnectionId id = AcceptOne(&landing);
      b()->messages.clear();
      b()->on_message = [&](const Event& event) {
        if (event.write != Event::Write::kLanded) return;
        EXPECT_TRUE(by_reference || PatternMismatch(landing.bytes, 8).empty());
      };
      bool closing = false;
      EXPECT_TRUE(WaitUntil(b(), [&] {
        if (!turn.client_closes && !closing && b()->messages.size() >= turn.works / 2) {
          b()->transport()->Close(id, absl::CancelledError("fire"));
          closing = true;
        }
        return b()->closed.erase(id) > 0;
      }));
      b()->on_message = nullptr;
    }
  });

  TransportNode* const only_a[] = {a()};
  for (const Turn& turn : turns) {
    Told told;
    const ConnectionId id = ConnectOne(&told);
    auto payload = std::make_unique<std::vector<std::byte>>(PatternBytes(kSize, 8));
    WorkRequest work = WriteWork(id, AsBytes("w"), *payload, told.key, 0);
    work.window = told.window;
    uint64_t posted = 0;
    EXPECT_TRUE(DriveUntil(
        only_a,
        [&] {
          if (a()->closed.erase(id) > 0) return true;
          if (posted < turn.works) {
            posted += a()->transport()->Post({&work, 1});
          } else if (turn.client_closes) {
            a()->transport()->Close(id, absl::CancelledError("fire"));
          }
          return false;
        },
        kPatienceNs));
    std::fill(payload->begin(), payload->end(), std::byte{0});
  }
  server.join();
}

}  // namespace
}  // namespace mcp::internal
