#include "lib/memory/region_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"

namespace mcp::internal {
namespace {

using Outcome = Resolved::Outcome;

constexpr uint32_t kReadWrite = kAccessRemoteRead | kAccessRemoteWrite;
constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

class RegionTableTest : public testing::Test {
 protected:
  uint64_t InsertOrDie(uint32_t access = kReadWrite, void* owner = nullptr) {
    const auto key = table_.Insert(bytes_, sizeof(bytes_), access, owner);
    EXPECT_TRUE(key.ok()) << key.status();
    return key.value_or(0);
  }
  Outcome OutcomeOf(uint64_t key) const { return table_.Resolve(key, 0, 1, kAccessRemoteWrite).outcome; }

  std::byte bytes_[4100];
  RegionTable table_{4, Random(1)};
};

TEST_F(RegionTableTest, ResolvesInsideItsRange) {
  int owner;
  const uint64_t key = InsertOrDie(kReadWrite, &owner);
  const Resolved resolved = table_.Resolve(key, 4000, 100, kAccessRemoteWrite);
  EXPECT_EQ(resolved.outcome, Outcome::kOk);
  EXPECT_EQ(resolved.address, bytes_ + 4000);
  EXPECT_EQ(resolved.owner, &owner);
  EXPECT_TRUE(table_.Valid(resolved.slot, key));
  EXPECT_EQ(table_.Resolve(key, 4100, 0, kAccessRemoteRead).outcome, Outcome::kOk);
  EXPECT_EQ(table_.slots_used(), 1u);
}

TEST_F(RegionTableTest, TellsRegistrationsFromOwners) {
  class Nothing : public DeviceMemory::Grant {
    RemoteWindow window() const override { return {}; }
    DeviceRange Part(absl::Span<std::byte> range) const override { return range; }
  } registered;
  const auto key = table_.InsertExport(bytes_, sizeof(bytes_), kReadWrite, &registered);
  ASSERT_TRUE(key.ok()) << key.status();
  const Resolved exported = table_.Resolve(*key, 0, 1, kAccessRemoteRead);
  EXPECT_EQ(exported.registered, &registered);
  EXPECT_EQ(exported.owner, nullptr);
  int owner;
  const Resolved landing = table_.Resolve(InsertOrDie(kReadWrite, &owner), 0, 1, kAccessRemoteWrite);
  EXPECT_EQ(landing.registered, nullptr);
  EXPECT_EQ(landing.owner, &owner);
}

TEST_F(RegionTableTest, RefusesOutsideItsRange) {
  const uint64_t key = InsertOrDie();
  const std::pair<uint64_t, uint64_t> outside[] = {{4096, 5},  {4101, 0},  {0, 4101},      {kHuge, 0},
                                                   {kHuge, 1}, {1, kHuge}, {kHuge, kHuge}, {4100, kHuge - 4099}};
  for (const auto& [offset, length] : outside) {
    EXPECT_EQ(table_.Resolve(key, offset, length, kAccessRemoteRead).outcome, Outcome::kRefused)
        << offset << " + " << length;
  }
}

TEST_F(RegionTableTest, SaysWhatItRefused) {
  const uint64_t key = InsertOrDie(kAccessRemoteRead);
  const std::string name = absl::StrFormat("key 0x%016x", key);
  EXPECT_EQ(table_.DescribeRefusal(key, 4096, 128, kAccessRemoteRead),
            absl::OutOfRangeError("offset 4096 + length 128 exceeds the 4100 bytes of " + name));
  EXPECT_EQ(table_.DescribeRefusal(key, 0, 1, kAccessRemoteWrite),
            absl::PermissionDeniedError(name + " does not allow remote writes"));
  EXPECT_EQ(table_.DescribeRefusal(0x123400000, 0, 1, kAccessRemoteRead),
            absl::NotFoundError("key 0x0000000123400000 names no memory of this engine"));
  ASSERT_TRUE(table_.Invalidate(key));
  EXPECT_EQ(table_.DescribeRefusal(key, 0, 1, kAccessRemoteRead),
            absl::FailedPreconditionError(name + " names memory that was taken back"));
  const uint64_t write_only = InsertOrDie(kAccessRemoteWrite);
  EXPECT_EQ(table_.DescribeRefusal(write_only, 0, 1, kReadWrite),
            absl::PermissionDeniedError(absl::StrFormat("key 0x%016x does not allow remote reads", write_only)));
}

TEST_F(RegionTableTest, ChecksRights) {
  const uint64_t read_only = InsertOrDie(kAccessRemoteRead);
  EXPECT_EQ(table_.Resolve(read_only, 0, 1, kAccessRemoteRead).outcome, Outcome::kOk);
  EXPECT_EQ(table_.Resolve(read_only, 0, 1, kAccessRemoteWrite).outcome, Outcome::kRefused);
  EXPECT_EQ(table_.Resolve(read_only, 0, 1, kReadWrite).outcome, Outcome::kRefused);
}

TEST_F(RegionTableTest, InvalidatedKeysAreStaleForEver) {
  std::vector<uint64_t> gone;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t key = InsertOrDie();
    ASSERT_EQ(OutcomeOf(key), Outcome::kOk);
    ASSERT_FALSE(table_.Settled(key));
    ASSERT_TRUE(table_.Invalidate(key));
    ASSERT_FALSE(table_.Invalidate(key));
    ASSERT_TRUE(table_.Settled(key));
    gone.push_back(key);
  }
  for (uint64_t key : gone) {
    ASSERT_EQ(OutcomeOf(key), Outcome::kStale);
    ASSERT_TRUE(table_.Settled(key));
  }
  EXPECT_EQ(table_.invalidations(), 1000u);
  EXPECT_EQ(table_.slots_used(), 0u);
}

TEST_F(RegionTableTest, GarbageIsRefusedNotStale) {
  constexpr uint64_t kSeed = 20;
  SCOPED_TRACE(kSeed);
  for (int i = 0; i < 100; ++i) table_.Invalidate(InsertOrDie());
  const uint64_t live = InsertOrDie();
  Random random(kSeed);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t in_a_slot = (random.Next() << kRegionSlotBits) | random.Below(4);
    ASSERT_EQ(OutcomeOf(in_a_slot), Outcome::kRefused) << in_a_slot;
    ASSERT_EQ(OutcomeOf(random.Next()), Outcome::kRefused);
  }
  for (uint64_t key : {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, kHuge}) {
    EXPECT_EQ(OutcomeOf(key), Outcome::kRefused);
    EXPECT_FALSE(table_.Invalidate(key));
    EXPECT_TRUE(table_.Settled(key));
  }
  for (int bit = kRegionSlotBits; bit < 64; ++bit) {
    EXPECT_EQ(OutcomeOf(live ^ (uint64_t{1} << bit)), Outcome::kRefused);
  }
}

TEST_F(RegionTableTest, ARoundThatBeganBeforeHoldsTheKeyUnsettled) {
  const uint64_t key = InsertOrDie();
  table_.EnterRound(0);
  ASSERT_TRUE(table_.Invalidate(key));
  EXPECT_EQ(OutcomeOf(key), Outcome::kStale);
  EXPECT_FALSE(table_.Settled(key));
  table_.EnterRound(7);  // began after: does not matter
  table_.LeaveRound(0);
  EXPECT_TRUE(table_.Settled(key));
  table_.LeaveRound(7);
}

TEST_F(RegionTableTest, APinHoldsTheKeyUnsettledBeyondTheRound) {
  const uint64_t key = InsertOrDie();
  table_.EnterRound(1);
  const Resolved resolved = table_.Resolve(key, 0, 1, kAccessRemoteWrite);
  table_.Pin(resolved.slot);
  table_.LeaveRound(1);
  ASSERT_TRUE(table_.Valid(resolved.slot, key));
  ASSERT_TRUE(table_.Invalidate(key));
  EXPECT_FALSE(table_.Valid(resolved.slot, key));
  EXPECT_FALSE(table_.Settled(key));
  table_.Unpin(resolved.slot);
  EXPECT_TRUE(table_.Settled(key));
}

TEST_F(RegionTableTest, ALandingSettlesWithItsLastPinNotWithTheRound) {
  const uint64_t key = InsertOrDie();
  const uint32_t slot = RegionKeySlot(key);
  table_.EnterRound(0);
  ASSERT_TRUE(table_.TryPin(slot, key));
  ASSERT_TRUE(table_.Invalidate(key));
  EXPECT_FALSE(table_.TryPin(slot, key));
  EXPECT_FALSE(table_.LandingSettled(key));
  table_.Unpin(slot);
  EXPECT_TRUE(table_.LandingSettled(key));
  EXPECT_FALSE(table_.Settled(key));
  table_.LeaveRound(0);
  EXPECT_TRUE(table_.Settled(key));
}

TEST_F(RegionTableTest, SlotsComeBackWhenTheyHaveSettled) {
  std::vector<uint64_t> keys;
  for (int i = 0; i < 4; ++i) keys.push_back(InsertOrDie());
  EXPECT_EQ(table_.Insert(bytes_, 1, kReadWrite, nullptr).status().code(), absl::StatusCode::kResourceExhausted);
  table_.EnterRound(0);
  const Resolved resolved = table_.Resolve(keys[2], 0, 1, kAccessRemoteWrite);
  table_.Pin(resolved.slot);
  for (uint64_t key : keys) ASSERT_TRUE(table_.Invalidate(key));
  EXPECT_EQ(table_.Insert(bytes_, 1, kReadWrite, nullptr).status().code(), absl::StatusCode::kResourceExhausted);
  table_.LeaveRound(0);
  for (int i = 0; i < 3; ++i) EXPECT_NE(RegionKeySlot(InsertOrDie()), resolved.slot);
  EXPECT_EQ(table_.Insert(bytes_, 1, kReadWrite, nullptr).status().code(), absl::StatusCode::kResourceExhausted);
  table_.Unpin(resolved.slot);
  EXPECT_EQ(RegionKeySlot(InsertOrDie()), resolved.slot);
}

TEST_F(RegionTableTest, KeysAreUniqueAmongThreads) {
  RegionTable table(64, Random(3));
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&table, t] {
      std::byte mine[8];
      for (int i = 0; i < 5000; ++i) {
        const auto key = table.Insert(mine, sizeof(mine), kReadWrite, nullptr);
        if (!key.ok()) continue;  // another thread is sweeping
        table.EnterRound(t);
        const Resolved resolved = table.Resolve(*key, 0, 8, kAccessRemoteWrite);
        EXPECT_EQ(resolved.outcome, Outcome::kOk);
        EXPECT_EQ(resolved.address, mine);
        table.LeaveRound(t);
        EXPECT_TRUE(table.Invalidate(*key));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(table.slots_used(), 0u);
}

// Readers write through keys that an owner takes back and frees. A touch after Settled is a use after free or a race,
// which the sanitizers report; the plain build checks the outcome alone.
TEST_F(RegionTableTest, NothingIsTouchedAfterSettled) {
  constexpr uint32_t kReaders = 2;
  constexpr int kGenerations = 500;
  RegionTable table(8, Random(4));
  std::atomic<uint64_t> current_key{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> touches{0};
  std::vector<std::thread> readers;
  for (uint32_t lane = 0; lane < kReaders; ++lane) {
    readers.emplace_back([&, lane] {
      bool pinned = false;
      uint32_t pinned_slot = 0;
      std::byte* pinned_byte = nullptr;
      for (uint64_t round = 0; !stop.load(std::memory_order_relaxed); ++round) {
        table.EnterRound(lane);
        if (pinned) {
          *pinned_byte = std::byte{2};
          table.Unpin(pinned_slot);
          pinned = false;
        }
        const Resolved resolved =
            table.Resolve(current_key.load(std::memory_order_relaxed), lane, 1, kAccessRemoteWrite);
        if (resolved.outcome == Outcome::kOk) {
          *resolved.address = std::byte{1};
          touches.fetch_add(1, std::memory_order_relaxed);
          if (round % 4 == 0) {
            table.Pin(resolved.slot);
            pinned = true;
            pinned_slot = resolved.slot;
            pinned_byte = resolved.address;
          }
        }
        table.LeaveRound(lane);
        std::this_thread::yield();
      }
      if (pinned) table.Unpin(pinned_slot);
    });
  }
  for (int generation = 0; generation < kGenerations; ++generation) {
    auto bytes = std::make_unique<std::byte[]>(kReaders);
    const uint64_t key = table.Insert(bytes.get(), kReaders, kAccessRemoteWrite, nullptr).value();
    current_key.store(key, std::memory_order_relaxed);
    const uint64_t seen = touches.load(std::memory_order_relaxed);
    while (touches.load(std::memory_order_relaxed) == seen) std::this_thread::yield();
    ASSERT_TRUE(table.Invalidate(key));
    while (!table.Settled(key)) std::this_thread::yield();
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(touches.load(), static_cast<uint64_t>(kGenerations));
}

// The same for landings, which are used under TryPin alone.
TEST_F(RegionTableTest, NothingIsTouchedAfterLandingSettled) {
  constexpr int kGenerations = 500;
  RegionTable table(8, Random(5));
  std::atomic<uint64_t> current_key{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> touches{0};
  std::atomic<std::byte*> current_byte{nullptr};
  std::thread toucher([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      const uint64_t key = current_key.load(std::memory_order_acquire);
      const uint32_t slot = RegionKeySlot(key);
      if (slot < 8 && table.TryPin(slot, key)) {
        *current_byte.load(std::memory_order_relaxed) = std::byte{1};
        touches.fetch_add(1, std::memory_order_relaxed);
        table.Unpin(slot);
      }
      std::this_thread::yield();
    }
  });
  for (int generation = 0; generation < kGenerations; ++generation) {
    auto byte = std::make_unique<std::byte>();
    const uint64_t key = table.Insert(byte.get(), 1, kAccessRemoteWrite, nullptr).value();
    current_byte.store(byte.get(), std::memory_order_relaxed);
    current_key.store(key, std::memory_order_release);
    const uint64_t seen = touches.load(std::memory_order_relaxed);
    while (touches.load(std::memory_order_relaxed) == seen) std::this_thread::yield();
    ASSERT_TRUE(table.Invalidate(key));
    while (!table.LandingSettled(key)) std::this_thread::yield();
  }
  stop.store(true);
  toucher.join();
}

}  // namespace
}  // namespace mcp::internal
