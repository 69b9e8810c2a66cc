// Bytes through the public API: every size that lies at a boundary, by every kind of operation, where they belong and
// nowhere else.
#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/session_fixture.h"

namespace mcp::internal {
namespace {

constexpr std::byte kUntouched{0xa5};
constexpr uint64_t kAround = 61;  // odd, so that nothing is aligned
constexpr uint64_t kLargest = 64 << 20;

class SessionData : public SessionContract {};

INSTANTIATE_TEST_SUITE_P(Every, SessionData, testing::ValuesIn(AllSessionCases()), SessionCaseName);

// What lies just around [kAround, kAround + size).
std::string AroundMismatch(Memory& memory, uint64_t size) {
  return ValueMismatch(memory.Bytes(0, kAround), kUntouched) +
         ValueMismatch(memory.Bytes(kAround + size, kAround), kUntouched);
}

TEST_P(SessionData, PutsEverySize) {
  Memory& source = NewMemory(client_engine(), kLargest + 1);
  Memory& target = NewMemory(server_engine(), kLargest + 2 * kAround);
  const RemoteRegion remote = Export(target);
  for (const uint64_t size : InterestingSizes()) {
    SCOPED_TRACE(size);
    source.Fill(1, size, size);
    std::fill_n(target.bytes.begin(), size + 2 * kAround, kUntouched);
    const auto put = ops().Put(client(), source.Part(1, size), remote, kAround);
    ASSERT_TRUE(ops().accepted(put)) << ops().at(put).accepted;
    ASSERT_TRUE(Finish(put));
    ASSERT_TRUE(ops().status(put).ok()) << ops().status(put);
    EXPECT_EQ(ops().at(put).result.bytes, size);
    EXPECT_EQ(ops().at(put).result.operation, ops().at(put).id);
    EXPECT_EQ(target.Mismatch(kAround, size, size), "");
    EXPECT_EQ(AroundMismatch(target, size), "");
  }
}

// Small ones that wait together share frames. Each is placed, matched and completed as if it had been alone, whatever
// lies between them.
TEST_P(SessionData, SmallOnesInBursts) {
  constexpr uint64_t kCount = 400;
  constexpr uint64_t kSlot = 1300;  // some larger than what shares a frame
  Memory& near = NewMemory(client_engine(), kCount * kSlot);
  Memory& far = NewMemory(server_engine(), 2 * kCount * kSlot);
  const RemoteRegion remote = Export(far);
  const auto size = [](uint64_t i) { return i % 7 == 0 ? i % 5 * (kSlot / 4) : i % 100; };
  std::fill(far.bytes.begin(), far.bytes.end(), kUntouched);
  std::vector<Operations::Index> started;
  std::vector<Operations::Index> received;
  for (uint64_t i = 0; i < kCount; ++i) {
    near.Fill(i * kSlot, size(i), i);
    received.push_back(ops().Receive(server(), 9, far.Part((kCount + i) * kSlot, kSlot)));
  }
  for (uint64_t i = 0; i < kCount; ++i) {
    const Slice local = near.Part(i * kSlot, size(i));
    started.push_back(StartPatiently([&] { return ops().Put(client(), local, remote, i * kSlot); }));
    if (i % 3 != 0) continue;
    started.push_back(StartPatiently([&] { return ops().Send(client(), 9, local); }));
  }
  ASSERT_TRUE(Drive([&] {
    return std::all_of(started.begin(), started.end(), [&](Operations::Index index) { return ops().done(index); });
  }));
  for (const Operations::Index index : started) EXPECT_TRUE(ops().status(index).ok()) << ops().status(index);
  uint64_t messages = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(far.Mismatch(i * kSlot, size(i), i), "");
    EXPECT_EQ(ValueMismatch(far.Bytes(i * kSlot + size(i), kSlot - size(i)), kUntouched), "");
    if (i % 3 != 0) continue;
    const Operations::Index receive = received[messages];
    ASSERT_TRUE(Finish(receive));
    EXPECT_EQ(ops().at(receive).result.bytes, size(i));
    EXPECT_EQ(far.Mismatch((kCount + messages++) * kSlot, size(i), i), "");
  }
}

TEST_P(SessionData, GetsEverySize) {
  Memory& target = NewMemory(client_engine(), kLargest + 2 * kAround);
  Memory& source = NewMemory(server_engine(), kLargest + 1);
  const RemoteRegion remote = Export(source, RemoteAccess::kRead);
  for (const uint64_t size : InterestingSizes()) {
    SCOPED_TRACE(size);
    source.Fill(1, size, size);
    std::fill_n(target.bytes.begin(), size + 2 * kAround, kUntouched);
    const auto get = ops().Get(client(), target.Part(kAround, size), remote, 1);
    ASSERT_TRUE(ops().accepted(get)) << ops().at(get).accepted;
    ASSERT_TRUE(Finish(get));
    ASSERT_TRUE(ops().status(get).ok()) << ops().status(get);
    EXPECT_EQ(ops().at(get).result.bytes, size);
    EXPECT_EQ(target.Mismatch(kAround, size, size), "");
    EXPECT_EQ(AroundMismatch(target, size), "");
  }
}

// From the server to the client too, and whether or not the receive was there first.
TEST_P(SessionData, SendsEverySize) {
  Memory& near = NewMemory(client_engine(), kLargest + 2 * kAround);
  Memory& far = NewMemory(server_engine(), kLargest + 2 * kAround);
  uint64_t tag = 100;
  for (const uint64_t size : InterestingSizes()) {
    for (const bool receive_first : {true, false}) {
      SCOPED_TRACE(absl::StrCat(size, receive_first ? " receive first" : " send first"));
      const bool outward = ++tag % 2 == 0;
      Memory& source = outward ? near : far;
      Memory& target = outward ? far : near;
      source.Fill(kAround, size, tag);
      std::fill_n(target.bytes.begin(), size + 2 * kAround, kUntouched);
      const auto receive = [&] {
        return ops().Receive(outward ? server() : client(), tag, target.Part(kAround, size + kAround));
      };
      Operations::Index received = 0;
      if (receive_first) received = receive();
      const auto sent = ops().Send(outward ? client() : server(), tag, source.Part(kAround, size));
      if (!receive_first) {
        for (int i = 0; i < 10; ++i) world().ProgressAll();
        received = receive();
      }
      ASSERT_TRUE(Finish(sent) && Finish(received));
      ASSERT_TRUE(ops().status(sent).ok()) << ops().status(sent);
      ASSERT_TRUE(ops().status(received).ok()) << ops().status(received);
      EXPECT_EQ(ops().at(received).result.bytes, size);
      EXPECT_EQ(ops().at(received).result.tag, tag);
      EXPECT_EQ(ops().at(sent).result.bytes, size);
      EXPECT_EQ(target.Mismatch(kAround, size, tag), "");
      EXPECT_EQ(AroundMismatch(target, size), "");
    }
  }
}

TEST_P(SessionData, ManyAtOnceOfEveryKind) {
  constexpr size_t kSlots = 64;
  constexpr uint64_t kSlot = 200'000;
  constexpr int kRounds = 6;
  Memory& near = NewMemory(client_engine(), 2 * kSlots * kSlot);
  Memory& far = NewMemory(server_engine(), 2 * kSlots * kSlot);
  const RemoteRegion remote = Export(far);
  Random random(11);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::function<void()>> checks;
    for (size_t slot = 0; slot < kSlots; ++slot) {
      const uint64_t from = slot * kSlot;
      const uint64_t to = (kSlots + slot) * kSlot;
      const uint64_t size = random.Below(3) == 0 ? random.Below(kSlot) : random.Below(6000);
      const uint64_t seed = random.Next();
      const uint64_t tag = seed;
      switch (slot % 3) {
        case 0:
          near.Fill(from, size, seed);
          StartPatiently([&] { return ops().Put(client(), near.Part(from, size), remote, to); });
          checks.push_back([=, &far] { EXPECT_EQ(far.Mismatch(to, size, seed), "") << "put of " << size; });
          break;
        case 1:
          far.Fill(from, size, seed);
          StartPatiently([&] { return ops().Get(client(), near.Part(to, size), remote, from); });
          checks.push_back([=, &near] { EXPECT_EQ(near.Mismatch(to, size, seed), "") << "get of " << size; });
          break;
        default:
          near.Fill(from, size, seed);
          StartPatiently([&] { return ops().Send(client(), tag, near.Part(from, size)); });
          StartPatiently([&] { return ops().Receive(server(), tag, far.Part(to, kSlot)); });
          checks.push_back([=, &far] { EXPECT_EQ(far.Mismatch(to, size, seed), "") << "send of " << size; });
          break;
      }
    }
    ASSERT_TRUE(FinishAll());
    for (const auto& check : checks) check();
  }
  for (size_t i = 0; i < ops().started(); ++i) EXPECT_TRUE(ops().status(i).ok()) << ops().at(i).result.status;
}

// Completions start further operations: the loop that bandwidth tests are made of.
TEST_P(SessionData, CompletionsStartOperations) {
  constexpr int kPuts = 500;
  constexpr uint64_t kSize = 3000;
  Memory& source = NewMemory(client_engine(), kSize);
  Memory& target = NewMemory(server_engine(), kSize);
  const RemoteRegion remote = Export(target);
  source.Fill(0, kSize, 3);
  std::atomic<int> completed{0};
  std::function<void()> start = [&] {
    ops().Start(
        "chained put",
        [&](Completion completion) { return client().Put(source.Part(0, kSize), remote, 0, std::move(completion)); },
        [&](const Result& result) {
          EXPECT_TRUE(result.status.ok()) << result.status;
          if (++completed < kPuts) start();
        });
  };
  start();
  EXPECT_TRUE(Drive([&] { return completed.load() == kPuts; })) << completed.load();
  EXPECT_TRUE(FinishAll());
  EXPECT_EQ(target.Mismatch(0, kSize, 3), "");
}

TEST_P(SessionData, LargeMessagesCross) {
  constexpr uint64_t kSize = 12 << 20;
  Memory& near = NewMemory(client_engine(), 2 * kSize);
  Memory& far = NewMemory(server_engine(), 2 * kSize);
  near.Fill(0, kSize, 1);
  far.Fill(0, kSize, 2);
  for (int i = 0; i < 3; ++i) {
    ops().Send(client(), 7, near.Part(0, kSize));
    ops().Receive(client(), 7, near.Part(kSize, kSize));
    ops().Send(server(), 7, far.Part(0, kSize));
    ops().Receive(server(), 7, far.Part(kSize, kSize));
    ASSERT_TRUE(FinishAll());
    EXPECT_EQ(near.Mismatch(kSize, kSize, 2), "");
    EXPECT_EQ(far.Mismatch(kSize, kSize, 1), "");
  }
}

TEST_P(SessionData, ThreadsMayStartOperationsTogether) {
  if (GetParam().lanes == 0) GTEST_SKIP() << "the driving thread is one";
  constexpr int kThreads = 3;
  constexpr uint64_t kPuts = 200;
  constexpr uint64_t kSize = 2000;
  Memory& source = NewMemory(client_engine(), kThreads * kPuts * kSize);
  Memory& target = NewMemory(server_engine(), kThreads * kPuts * kSize);
  const RemoteRegion remote = Export(target);
  source.Fill(0, source.bytes.size(), 5);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kPuts; ++i) {
        const uint64_t at = (t * kPuts + i) * kSize;
        const auto put = ops().Put(client(), source.Part(at, kSize), remote, at);
        EXPECT_TRUE(ops().accepted(put)) << ops().at(put).accepted;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(FinishAll());
  EXPECT_EQ(target.Mismatch(0, target.bytes.size(), 5), "");
}

TEST_P(SessionData, DescribesItself) {
  const SessionDescription description = client().Describe();
  ASSERT_EQ(description.rails.size(), static_cast<size_t>(GetParam().rails));
  for (const RailDescription& rail : description.rails) {
    const bool first = &rail == &description.rails.front();
    EXPECT_EQ(rail.transport, IsVerbs(GetParam().kind)                      ? "verbs"
                              : GetParam().kind == TransportKind::kLoopback ? "loopback"
                                                                            : "tcp");
    EXPECT_EQ(rail.local.empty(), !first) << "no work has wanted more than one";
    EXPECT_EQ(rail.remote.empty(), !first);
    EXPECT_GE(rail.lane, 0);
  }
  EXPECT_FALSE(description.peer.empty());
  Memory& source = NewMemory(client_engine(), 100);
  Memory& target = NewMemory(server_engine(), 100);
  ASSERT_TRUE(Finish(ops().Put(client(), source.Part(0, 100), Export(target), 0)));
  EXPECT_EQ(client().Statistics().operations_completed, 1u);
  EXPECT_GE(client().Statistics().payload_bytes_sent, 100u);
  // What devices do alone has no frame.
  const bool framed = GetParam().checksum || !IsVerbs(GetParam().kind);
  EXPECT_GE(client().Statistics().wire_bytes_sent, client().Statistics().payload_bytes_sent + (framed ? 1 : 0));
}

}  // namespace
}  // namespace mcp::internal
