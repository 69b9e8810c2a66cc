#include "lib/memory/registration_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/random.h"

namespace mcp::internal {
namespace {

// Never touched by the cache: any numbers do as addresses.
void* At(uint64_t page) { return reinterpret_cast<void*>(page * 4096); }
constexpr uint64_t kPage = 4096;

class FakeRegistrar : public Registrar {
 public:
  absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override {
    if (!failure.ok()) return failure;
    live[++last_handle] = range;
    return last_handle;
  }
  void Deregister(uint64_t handle) override { EXPECT_EQ(live.erase(handle), 1u) << "deregistered twice"; }

  absl::Status failure;
  uint64_t last_handle = 0;
  std::map<uint64_t, absl::Span<std::byte>> live;
};

class RegistrationCacheTest : public testing::Test {
 protected:
  Registration AcquirePages(uint64_t page, uint64_t pages) {
    auto registration = cache_.Acquire(At(page), pages * kPage);
    EXPECT_TRUE(registration.ok()) << registration.status();
    return registration.ok() ? *std::move(registration) : Registration();
  }
  uint64_t misses() const { return cache_.statistics().misses; }

  FakeRegistrar registrar_;
  RegistrationCache cache_{registrar_, {.bytes_max = 100 * kPage, .entries_max = 4, .granularity = kPage}};
};

TEST_F(RegistrationCacheTest, RepeatedAndInnerRangesAreHits) {
  const Registration first = AcquirePages(10, 10);
  EXPECT_EQ(first.range().data(), At(10));
  EXPECT_EQ(first.range().size(), 10 * kPage);
  const Registration again = AcquirePages(10, 10);
  const Registration inner = AcquirePages(15, 5);
  EXPECT_EQ(again.handle(), first.handle());
  EXPECT_EQ(inner.handle(), first.handle());
  EXPECT_EQ(misses(), 1u);
}

TEST_F(RegistrationCacheTest, StaysRegisteredWithoutUsers) {
  const uint64_t handle = AcquirePages(10, 1).handle();
  EXPECT_EQ(registrar_.live.size(), 1u);
  EXPECT_EQ(AcquirePages(10, 1).handle(), handle);
}

TEST_F(RegistrationCacheTest, RangesAreWidenedToPages) {
  const auto registration = cache_.Acquire(static_cast<char*>(At(10)) + 100, kPage);
  ASSERT_TRUE(registration.ok());
  EXPECT_EQ(registration->range().data(), At(10));
  EXPECT_EQ(registration->range().size(), 2 * kPage);
  AcquirePages(11, 1);
  EXPECT_EQ(misses(), 1u);
}

TEST_F(RegistrationCacheTest, AdjacentRangesAreApart) {
  AcquirePages(10, 1);
  AcquirePages(11, 1);
  AcquirePages(9, 1);
  EXPECT_EQ(misses(), 3u);
  EXPECT_EQ(cache_.statistics().merges, 0u);
}

TEST_F(RegistrationCacheTest, OverlapsMergeAndTheOldOneGoesWithItsUser) {
  Registration low = AcquirePages(10, 10);
  AcquirePages(25, 5);
  const uint64_t low_handle = low.handle();
  const Registration merged = AcquirePages(15, 12);
  EXPECT_EQ(merged.range().data(), At(10));
  EXPECT_EQ(merged.range().size(), 20 * kPage);
  EXPECT_EQ(cache_.statistics().merges, 1u);
  EXPECT_EQ(registrar_.live.size(), 2u) << "the unused one went, the used one stays";
  EXPECT_EQ(low.handle(), low_handle);
  EXPECT_EQ(AcquirePages(10, 1).handle(), merged.handle()) << "the old one is found no more";
  low.Reset();
  EXPECT_EQ(registrar_.live.size(), 1u);
  EXPECT_EQ(cache_.statistics().bytes, 20 * kPage);
}

TEST_F(RegistrationCacheTest, LeastRecentlyUsedGoesFirst) {
  for (uint64_t page : {10, 20, 30, 40}) AcquirePages(page, 1);
  AcquirePages(10, 1);
  AcquirePages(50, 1);  // the place of 20
  EXPECT_EQ(cache_.statistics().evictions, 1u);
  EXPECT_EQ(misses(), 5u);
  for (uint64_t page : {10, 30, 40, 50}) AcquirePages(page, 1);
  EXPECT_EQ(misses(), 5u);
  AcquirePages(20, 1);
  EXPECT_EQ(misses(), 6u);
}

TEST_F(RegistrationCacheTest, BytesAreBounded) {
  AcquirePages(100, 60);
  const Registration used = AcquirePages(200, 30);
  AcquirePages(300, 60);
  EXPECT_EQ(cache_.statistics().bytes, 90 * kPage);
  EXPECT_EQ(cache_.Acquire(At(400), 71 * kPage).status(),
            absl::ResourceExhaustedError("register 284 KiB at 0x190000: 1 registrations of 120 KiB are in use, of at "
                                         "most 4 and 400 KiB"));
  EXPECT_EQ(registrar_.live.size(), 2u) << "a refusal evicts nothing";
  EXPECT_FALSE(cache_.Acquire(At(400), 101 * kPage).ok());
}

TEST_F(RegistrationCacheTest, EntriesInUseAreNotEvicted) {
  std::vector<Registration> used;
  for (uint64_t page : {10, 20, 30, 40}) used.push_back(AcquirePages(page, 1));
  EXPECT_EQ(cache_.Acquire(At(50), kPage).status().code(), absl::StatusCode::kResourceExhausted);
  used[2].Reset();
  AcquirePages(50, 1);
  EXPECT_EQ(AcquirePages(40, 1).handle(), used[3].handle());
}

TEST_F(RegistrationCacheTest, ARefusalByTheRegistrarLeavesWhatIsInUse) {
  const Registration used = AcquirePages(10, 2);
  registrar_.failure = absl::InternalError("device");
  EXPECT_EQ(cache_.Acquire(At(11), 2 * kPage).status(), registrar_.failure);
  EXPECT_EQ(cache_.Acquire(At(90), kPage).status(), registrar_.failure);
  EXPECT_EQ(AcquirePages(10, 2).handle(), used.handle());
  registrar_.failure = absl::OkStatus();
  EXPECT_EQ(AcquirePages(11, 2).range().size(), 3 * kPage);
}

TEST_F(RegistrationCacheTest, InvalidateForgetsOverlapping) {
  AcquirePages(10, 2);
  Registration used = AcquirePages(20, 2);
  AcquirePages(30, 2);
  EXPECT_EQ(cache_.Invalidate(At(11), 10 * kPage), 2u);
  EXPECT_EQ(registrar_.live.size(), 2u) << "the one in use stays until it is released";
  EXPECT_NE(AcquirePages(20, 2).handle(), used.handle());
  used.Reset();
  EXPECT_EQ(registrar_.live.size(), 2u);
  EXPECT_EQ(cache_.Invalidate(At(22), 8 * kPage), 0u);
  EXPECT_EQ(cache_.Invalidate(At(0), ~uint64_t{0}), 2u);
  EXPECT_TRUE(registrar_.live.empty());
}

TEST_F(RegistrationCacheTest, ApartIsNobodyElses) {
  const auto alone = cache_.AcquireApart(At(10), 4 * kPage);
  ASSERT_TRUE(alone.ok() && alone->valid());
  EXPECT_EQ(alone->range().size(), 4 * kPage);
  for (const auto& [page, pages] : {std::pair<uint64_t, uint64_t>{10, 4}, {11, 1}, {8, 3}, {13, 2}}) {
    const auto other = cache_.AcquireApart(At(page), pages * kPage);
    ASSERT_TRUE(other.ok());
    EXPECT_FALSE(other->valid()) << page;
  }
  EXPECT_EQ(misses(), 1u);
  EXPECT_TRUE(cache_.AcquireApart(At(14), kPage)->valid()) << "beside it";
  EXPECT_EQ(cache_.AcquireApart(At(1), 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RegistrationCacheTest, RefusesWhatIsNoRange) {
  EXPECT_EQ(cache_.Acquire(At(1), 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cache_.Acquire(At(1), ~uint64_t{0}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cache_.Acquire(reinterpret_cast<void*>(~uint64_t{0} - 10), 8).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RegistrationCacheTest, RegistrationsMove) {
  Registration one = AcquirePages(10, 1);
  Registration other = std::move(one);
  EXPECT_FALSE(one.valid());
  EXPECT_TRUE(other.valid());
  other = AcquirePages(20, 1);
  EXPECT_EQ(cache_.Invalidate(At(10), kPage), 1u);
  EXPECT_EQ(registrar_.live.size(), 1u);
}

// Against a model: what is handed out covers the request and is registered at that moment.
TEST_F(RegistrationCacheTest, RandomRequestsAreCovered) {
  constexpr uint64_t kSeed = 31;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  std::vector<Registration> held;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t page = 1 + random.Below(60);
    const uint64_t pages = 1 + random.Below(8);
    if (random.Below(20) == 0) cache_.Invalidate(At(page), pages * kPage);
    if (held.size() == 3) held.erase(held.begin() + static_cast<ptrdiff_t>(random.Below(3)));
    auto registration = cache_.Acquire(At(page), pages * kPage);
    if (!registration.ok()) continue;
    ASSERT_LE(registration->range().data(), At(page));
    ASSERT_GE(registration->range().data() + registration->range().size(), At(page + pages));
    held.push_back(*std::move(registration));
    for (const Registration& each : held) ASSERT_EQ(registrar_.live.count(each.handle()), 1u);
    ASSERT_LE(registrar_.live.size(), 4u);
  }
  held.clear();
  cache_.Invalidate(At(0), ~uint64_t{0});
  EXPECT_TRUE(registrar_.live.empty());
  EXPECT_EQ(cache_.statistics().entries, 0u);
  EXPECT_EQ(cache_.statistics().bytes, 0u);
}

// Whose work goes on until it is told to end.
class SlowRegistrar : public Registrar {
 public:
  absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (range.data() != slow) return ++last_;
    working_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !working_; });
    if (slow_fails) return absl::InternalError("device");
    return ++last_;
  }
  void Deregister(uint64_t) override { ++deregistered; }

  void AwaitWork() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return working_; });
  }
  void EndWork() {
    const std::lock_guard<std::mutex> lock(mutex_);
    working_ = false;
    changed_.notify_all();
  }

  void* slow = nullptr;
  std::atomic<bool> slow_fails{false};
  std::atomic<int> deregistered{0};

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool working_ = false;
  uint64_t last_ = 0;
};

class RegistrationCacheWhileRegistering : public testing::Test {
 protected:
  void SetUp() override {
    registrar_.slow = At(100);
    slow_ = std::thread([this] {
      absl::StatusOr<Registration> acquired = cache_.Acquire(At(100), 10 * kPage);
      if (acquired.ok()) acquired_ = *std::move(acquired);
    });
    registrar_.AwaitWork();
  }
  // Somebody else does, for a part of what is being registered.
  void Wait() {
    waiting_ = std::async(std::launch::async, [this] { return *cache_.Acquire(At(105), kPage); });
    while (cache_.statistics().waiting == 0) std::this_thread::yield();
  }
  void End() {
    registrar_.EndWork();
    slow_.join();
  }

  SlowRegistrar registrar_;
  RegistrationCache cache_{registrar_, {.bytes_max = 20 * kPage, .entries_max = 4, .granularity = kPage}};
  Registration acquired_;
  std::future<Registration> waiting_;
  std::thread slow_;
};

TEST_F(RegistrationCacheWhileRegistering, OthersGoOn) {
  Registration other = *cache_.Acquire(At(10), kPage);
  EXPECT_EQ(cache_.Invalidate(At(10), kPage), 1u);
  other.Reset();
  EXPECT_EQ(registrar_.deregistered, 1);
  EXPECT_FALSE(cache_.AcquireApart(At(105), kPage)->valid()) << "in the way of what is being made";
  EXPECT_FALSE(cache_.Find(At(105), kPage).valid());
  EXPECT_EQ(cache_.Acquire(At(10), 11 * kPage).status().code(), absl::StatusCode::kResourceExhausted)
      << "its room is taken";
  End();
  EXPECT_TRUE(cache_.Find(At(105), kPage).valid());
}

TEST_F(RegistrationCacheWhileRegistering, WhatOverlapsWaits) {
  Wait();
  EXPECT_EQ(cache_.statistics().misses, 0u);
  End();
  EXPECT_EQ(waiting_.get().handle(), acquired_.handle());
  EXPECT_EQ(cache_.statistics().misses, 1u);
}

TEST_F(RegistrationCacheWhileRegistering, WhoWaitedForAFailureRegistersItself) {
  Wait();
  registrar_.slow_fails = true;
  End();
  EXPECT_FALSE(acquired_.valid());
  EXPECT_EQ(waiting_.get().range().size(), kPage);
}

TEST_F(RegistrationCacheWhileRegistering, WhoWaitedForWhatIsForgottenRegistersItself) {
  Wait();
  EXPECT_EQ(cache_.Invalidate(At(100), kPage), 1u);
  End();
  EXPECT_NE(waiting_.get().handle(), acquired_.handle());
}

TEST_F(RegistrationCacheWhileRegistering, WhatIsForgottenServesItsUserAlone) {
  EXPECT_EQ(cache_.Invalidate(At(109), kPage), 1u);
  End();
  EXPECT_TRUE(acquired_.valid());
  EXPECT_FALSE(cache_.Find(At(105), kPage).valid());
  EXPECT_EQ(registrar_.deregistered, 0);
  acquired_.Reset();
  EXPECT_EQ(registrar_.deregistered, 1);
  EXPECT_EQ(cache_.statistics().bytes, 0u);
}

// A registrar whose handles are objects: using one that was deregistered is what the sanitizers report.
class ObjectRegistrar : public Registrar {
 public:
  absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override {
    return reinterpret_cast<uint64_t>(new std::atomic<uint64_t>(range.size()));
  }
  void Deregister(uint64_t handle) override { delete reinterpret_cast<std::atomic<uint64_t>*>(handle); }
};

TEST(RegistrationCacheThreads, NothingIsDeregisteredUnderItsUser) {
  ObjectRegistrar registrar;
  RegistrationCache cache(registrar, {.bytes_max = 64 * kPage, .entries_max = 6, .granularity = kPage});
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([&cache, seed] {
      Random random(seed);
      for (int i = 0; i < 5000; ++i) {
        const uint64_t page = 1 + random.Below(20);
        const uint64_t pages = 1 + random.Below(4);
        if (random.Below(50) == 0) cache.Invalidate(At(page), kPage);
        auto registration = cache.Acquire(At(page), pages * kPage);
        if (!registration.ok()) continue;
        EXPECT_LE(registration->range().data(), At(page));
        EXPECT_GE(registration->range().data() + registration->range().size(), At(page + pages));
        const auto* object = reinterpret_cast<std::atomic<uint64_t>*>(registration->handle());
        EXPECT_EQ(object->load(std::memory_order_relaxed), registration->range().size());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  cache.Invalidate(At(0), ~uint64_t{0});
  EXPECT_EQ(cache.statistics().entries, 0u);
}

}  // namespace
}  // namespace mcp::internal
