// Writes: into place before their message, nowhere else, and what becomes of keys that are stale or were never valid.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/contract/transport_fixture.h"

namespace mcp::internal {
namespace {

constexpr std::byte kUntouched{0xa5};

class TransportWrite : public TransportContract {};

INSTANTIATE_TEST_SUITE_P(Every, TransportWrite, testing::ValuesIn(AllTransportCases()), TransportCaseName);

TEST_P(TransportWrite, LandsBeforeItsMessage) {
  const Wire wire = Connect();
  constexpr uint64_t kAround = 100;
  for (const uint64_t wanted :
       {0ull, 1ull, 63ull, 64ull, 4095ull, 4096ull, 65536ull, 65537ull, 1ull << 20, (8ull << 20) + 3}) {
    const uint64_t size = std::min<uint64_t>(wanted, a()->transport()->info().write_bytes_max);
    SCOPED_TRACE(size);
    Destination landing(b(), size + 2 * kAround);
    std::fill(landing.bytes.begin(), landing.bytes.end(), kUntouched);
    const std::vector<std::byte> payload = PatternBytes(size, size);
    bool arrived = false;
    b()->on_message = [&](const Event& event) {
      arrived = true;
      EXPECT_EQ(event.write, Event::Write::kLanded);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(event.data), event.data_bytes), "with a write");
      const absl::Span<const std::byte> bytes = landing.bytes;
      EXPECT_EQ(PatternMismatch(bytes.subspan(kAround, size), size), "");
      EXPECT_EQ(ValueMismatch(bytes.first(kAround), kUntouched), "");
      EXPECT_EQ(ValueMismatch(bytes.last(kAround), kUntouched), "");
    };
    const WorkRequest work = WriteWork(wire.client_id, AsBytes("with a write"), payload, landing, kAround);
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    EXPECT_TRUE(Drive([&] { return arrived; }));
  }
}

TEST_P(TransportWrite, KeepsItsPlaceAmongMessages) {
  constexpr uint64_t kWorks = 600;
  constexpr uint64_t kSpan = 200'000;
  const Wire wire = Connect();
  Destination landing(b(), kSpan);
  const std::vector<std::byte> payload = PatternBytes(kSpan, 9);
  Random random(2);
  uint64_t arrived = 0;
  b()->keep_messages = false;
  b()->on_message = [&](const Event& event) {
    uint64_t number;
    ASSERT_GE(event.data_bytes, sizeof(number));
    std::memcpy(&number, event.data, sizeof(number));
    ASSERT_EQ(number, arrived);
    ++arrived;
  };
  for (uint64_t i = 0; i < kWorks; ++i) {
    const absl::Span<const std::byte> header(reinterpret_cast<const std::byte*>(&i), sizeof(i));
    const uint64_t size = random.Below(2) == 0 ? random.Below(100) : random.Below(kSpan);
    WorkRequest work;
    if (random.Below(2) == 0) {
      work = WriteWork(wire.client_id, header, absl::MakeConstSpan(payload).first(size), landing, 0);
    } else {
      work = MessageWork(wire.client_id, header, absl::MakeConstSpan(payload).first(std::min<uint64_t>(size, 2000)));
    }
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  EXPECT_TRUE(Drive([&] { return arrived == kWorks; })) << arrived << " arrived";
}

// A message that may overtake comes once, no later than its place; all others keep their order, and so do those that
// may overtake among themselves.
TEST_P(TransportWrite, OnlyWhatMayOvertakeDoes) {
  constexpr uint64_t kWorks = 300;
  const Wire wire = Connect();
  Destination landing(b(), 1 << 20);
  const std::vector<std::byte> payload = PatternBytes(1 << 20, 9);
  std::vector<bool> may(kWorks);
  std::vector<bool> seen(kWorks);
  std::vector<uint64_t> order;
  b()->keep_messages = false;
  b()->on_message = [&](const Event& event) {
    uint64_t number;
    ASSERT_EQ(event.data_bytes, sizeof(number));
    std::memcpy(&number, event.data, sizeof(number));
    ASSERT_LT(number, kWorks);
    ASSERT_FALSE(seen[number]) << number << " came twice";
    seen[number] = true;
    order.push_back(number);
  };
  for (uint64_t i = 0; i < kWorks; ++i) {
    const absl::Span<const std::byte> header(reinterpret_cast<const std::byte*>(&i), sizeof(i));
    WorkRequest work = MessageWork(wire.client_id, header);
    if (i % 3 == 0) work = WriteWork(wire.client_id, header, payload, landing, 0);
    may[i] = work.may_overtake = i % 3 == 1;
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
  }
  ASSERT_TRUE(Drive([&] { return order.size() == kWorks; }));
  std::vector<bool> delivered(kWorks);
  for (const uint64_t number : order) {
    for (uint64_t before = 0; before < number; ++before) {
      if (delivered[before]) continue;
      ASSERT_TRUE(may[number] && !may[before]) << number << " overtook " << before;
    }
    delivered[number] = true;
  }
}

TEST_P(TransportWrite, AStaleKeyDiscardsTheBytesAndGoesOn) {
  if (PlacesRemotely(a())) GTEST_SKIP() << "the device ends the connection: see AStaleWindowEndsTheConnection";
  const Wire wire = Connect();
  const std::vector<std::byte> payload = PatternBytes(300'000, 4);
  for (const uint64_t size : {uint64_t{10}, uint64_t{300'000}}) {
    SCOPED_TRACE(size);
    Destination landing(b(), size);
    std::fill(landing.bytes.begin(), landing.bytes.end(), kUntouched);
    ASSERT_TRUE(b()->regions()->Invalidate(landing.key));
    b()->messages.clear();
    const WorkRequest batch[] = {
        WriteWork(wire.client_id, AsBytes("late"), absl::MakeConstSpan(payload).first(size), landing, 0),
        MessageWork(wire.client_id, AsBytes("after"))};
    ASSERT_TRUE(a()->PostAll(batch, both()));
    ASSERT_TRUE(Drive([&] { return b()->messages.size() == 2; }));
    EXPECT_EQ(b()->messages[0].write, Event::Write::kStale);
    EXPECT_EQ(b()->messages[0].bytes, "late");
    EXPECT_EQ(b()->messages[1].bytes, "after");
    EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
  }
}

// Where the device places writes: the memory was taken back, and a peer that writes there all the same finds out.
TEST_P(TransportWrite, AStaleWindowEndsTheConnection) {
  if (!PlacesRemotely(a())) GTEST_SKIP() << "a stale key is discarded: see AStaleKeyDiscardsTheBytesAndGoesOn";
  const std::vector<std::byte> payload = PatternBytes(300'000, 4);
  const Wire other = Connect();
  for (const uint64_t size : {uint64_t{10}, uint64_t{300'000}}) {
    SCOPED_TRACE(size);
    const Wire wire = Connect();
    Destination landing(b(), size);
    const absl::Span<const std::byte> bytes = absl::MakeConstSpan(payload).first(size);
    const WorkRequest work = WriteWork(wire.client_id, AsBytes("w"), bytes, landing, 0);
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
    std::fill(landing.bytes.begin(), landing.bytes.end(), kUntouched);
    landing.TakeBack();
    b()->messages.clear();
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return a()->closed.count(wire.client_id) > 0 && b()->closed.count(wire.server_id) > 0; }));
    EXPECT_EQ(a()->closed[wire.client_id].code(), absl::StatusCode::kPermissionDenied) << a()->closed[wire.client_id];
    EXPECT_TRUE(b()->messages.empty());
    EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
    const WorkRequest beside[] = {MessageWork(other.client_id, AsBytes("beside"))};
    ASSERT_TRUE(a()->PostAll(beside, both()));
    ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
    EXPECT_EQ(b()->messages[0].bytes, "beside");
    b()->messages.clear();
  }
}

// The key is taken back while a write is on its way into the memory: once it has settled, nothing lands any more.
TEST_P(TransportWrite, NothingLandsOnceAKeyHasSettled) {
  const Wire wire = Connect();
  constexpr uint64_t kSize = 32 << 20;
  const std::vector<std::byte> payload = PatternBytes(kSize, 4);
  for (int rounds = 0; rounds < 12; rounds += 2) {
    SCOPED_TRACE(rounds);
    Destination landing(b(), kSize);
    b()->messages.clear();
    const WorkRequest batch[] = {WriteWork(wire.client_id, AsBytes("late"), payload, landing, 0),
                                 MessageWork(wire.client_id, AsBytes("after"))};
    size_t posted = 0;
    for (int i = 0; i < rounds; ++i) {
      posted += a()->transport()->Post(absl::MakeConstSpan(batch).subspan(posted));
      a()->Poll();
      b()->Poll();
    }
    landing.TakeBack();
    ASSERT_TRUE(a()->PostAll(absl::MakeConstSpan(batch).subspan(posted), both()));
    ASSERT_TRUE(Drive([&] { return b()->regions()->Settled(landing.key); }));
    std::fill(landing.bytes.begin(), landing.bytes.end(), kUntouched);
    if (PlacesRemotely(a())) {
      // Either the write was done before, or it ends the connection.
      ASSERT_TRUE(Drive([&] { return b()->messages.size() == 2 || a()->closed.count(wire.client_id) > 0; }));
      EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
      continue;
    }
    ASSERT_TRUE(Drive([&] { return b()->messages.size() == 2; }));
    EXPECT_NE(b()->messages[0].write, Event::Write::kRefused);
    EXPECT_EQ(b()->messages[0].bytes, "late");
    EXPECT_EQ(b()->messages[1].bytes, "after");
    EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
  }
}

struct BadWrite {
  const char* name;
  uint64_t key_xor;
  uint64_t offset;
  uint64_t length;
  uint32_t access;
};

TEST_P(TransportWrite, RefusesWhatWasNeverValid) {
  constexpr uint64_t kSize = 4096;
  const std::vector<std::byte> payload = PatternBytes(kSize + 1, 4);
  const Wire other = Connect();
  for (const BadWrite& bad : {BadWrite{"unknown key", 0x5555'0000'0000'0000, 0, 16, kAccessRemoteWrite},
                              BadWrite{"past the end", 0, kSize - 15, 16, kAccessRemoteWrite},
                              BadWrite{"too long", 0, 0, kSize + 1, kAccessRemoteWrite},
                              BadWrite{"offset wraps", 0, ~uint64_t{0} - 7, 16, kAccessRemoteWrite},
                              BadWrite{"empty, out of range", 0, kSize + 1, 0, kAccessRemoteWrite},
                              BadWrite{"read-only", 0, 0, 16, kAccessRemoteRead}}) {
    SCOPED_TRACE(bad.name);
    const Wire wire = Connect();
    Destination landing(b(), kSize, bad.access);
    const bool remotely = PlacesRemotely(a());
    if (remotely && (bad.key_xor != 0 || bad.length == 0)) continue;  // what the device is not shown
    std::fill(landing.bytes.begin(), landing.bytes.end(), kUntouched);
    a()->messages.clear();
    b()->messages.clear();
    WorkRequest batch[] = {
        WriteWork(wire.client_id, AsBytes("bad"), absl::MakeConstSpan(payload).first(bad.length), landing, bad.offset),
        MessageWork(wire.client_id, AsBytes("unread"))};
    batch[0].key ^= bad.key_xor;
    ASSERT_TRUE(a()->PostAll(batch, both()));
    if (remotely) {
      ASSERT_TRUE(
          Drive([&] { return a()->closed.count(wire.client_id) > 0 && b()->closed.count(wire.server_id) > 0; }));
      EXPECT_EQ(a()->closed[wire.client_id].code(), absl::StatusCode::kPermissionDenied) << a()->closed[wire.client_id];
      EXPECT_TRUE(b()->messages.empty());
      EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
      continue;
    }
    ASSERT_TRUE(Drive([&] { return !b()->messages.empty(); }));
    EXPECT_EQ(b()->messages[0].write, Event::Write::kRefused);
    EXPECT_EQ(b()->messages[0].bytes, "bad");
    EXPECT_FALSE(b()->messages[0].status.ok());
    EXPECT_TRUE(absl::StrContains(b()->messages[0].status.message(), "key")) << b()->messages[0].status;
    // It reads no further, can still say why, and harms no one.
    const WorkRequest reply[] = {MessageWork(wire.server_id, AsBytes("you erred"))};
    ASSERT_TRUE(b()->PostAll(reply, both()));
    const WorkRequest beside[] = {MessageWork(other.client_id, AsBytes("beside"))};
    ASSERT_TRUE(a()->PostAll(beside, both()));
    ASSERT_TRUE(Drive([&] { return !a()->messages.empty() && b()->messages.size() >= 2; }));
    EXPECT_EQ(a()->messages[0].bytes, "you erred");
    EXPECT_EQ(b()->messages[1].bytes, "beside");
    EXPECT_EQ(b()->messages.size(), 2u);
    EXPECT_EQ(ValueMismatch(landing.bytes, kUntouched), "");
    b()->transport()->Close(wire.server_id, absl::InternalError("the peer broke the protocol"));
    EXPECT_TRUE(Drive([&] { return b()->closed.count(wire.server_id) > 0 && a()->closed.count(wire.client_id) > 0; }));
  }
}

TEST_P(TransportWrite, TheLastByteOfARegionIsWithin) {
  const Wire wire = Connect();
  Destination landing(b(), 100);
  const std::vector<std::byte> payload = PatternBytes(1, 4);
  const WorkRequest batch[] = {
      WriteWork(wire.client_id, AsBytes("last"), payload, landing, 99),
      WriteWork(wire.client_id, AsBytes("end"), absl::MakeConstSpan(payload).first(0), landing, 100)};
  ASSERT_TRUE(a()->PostAll(batch, both()));
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == 2; }));
  EXPECT_EQ(b()->messages[0].write, Event::Write::kLanded);
  EXPECT_EQ(b()->messages[1].write, Event::Write::kLanded);
  EXPECT_EQ(landing.bytes[99], payload[0]);
}

TEST_P(TransportWrite, ScattersOverManyKeysBothWays) {
  constexpr size_t kKeys = 64;
  constexpr uint64_t kSize = 50'000;
  const Wire wire = Connect();
  struct Side {
    TransportNode* sender;
    TransportNode* receiver;
    ConnectionId id;
    std::vector<std::unique_ptr<Destination>> landings;
    std::vector<std::vector<std::byte>> payloads;
  };
  Side sides[] = {{a(), b(), wire.client_id, {}, {}}, {b(), a(), wire.server_id, {}, {}}};
  std::vector<WorkRequest> batches[2];
  for (size_t s = 0; s < 2; ++s) {
    for (size_t i = 0; i < kKeys; ++i) {
      sides[s].landings.push_back(std::make_unique<Destination>(sides[s].receiver, kSize));
      sides[s].payloads.push_back(PatternBytes(kSize - i, i + 1000 * s));
      batches[s].push_back(WriteWork(sides[s].id, AsBytes("w"), sides[s].payloads[i], *sides[s].landings[i], i));
    }
  }
  size_t posted[2] = {0, 0};
  ASSERT_TRUE(Drive([&] {
    for (size_t s = 0; s < 2; ++s) {
      posted[s] += sides[s].sender->transport()->Post(absl::MakeConstSpan(batches[s]).subspan(posted[s]));
    }
    return a()->messages.size() == kKeys && b()->messages.size() == kKeys;
  }));
  for (size_t s = 0; s < 2; ++s) {
    for (size_t i = 0; i < kKeys; ++i) {
      const absl::Span<const std::byte> landed = sides[s].landings[i]->bytes;
      EXPECT_EQ(PatternMismatch(landed.subspan(i), i + 1000 * s), "") << s << "/" << i;
      EXPECT_EQ(ValueMismatch(landed.first(i), std::byte{0}), "");
    }
  }
}

TEST_P(TransportWrite, SignaledWritesGiveTheirMemoryBack) {
  constexpr uint64_t kWrites = 20;
  constexpr uint64_t kSize = 300'000;
  const Wire wire = Connect();
  Destination landing(b(), kWrites * kSize);
  std::vector<std::byte> payload(kSize);
  for (uint64_t i = 0; i < kWrites; ++i) {
    FillPattern(absl::MakeSpan(payload), i);
    WorkRequest work = WriteWork(wire.client_id, AsBytes("w"), payload, landing, i * kSize);
    work.signaled = true;
    work.work_id = i + 77;
    ASSERT_TRUE(a()->PostAll({&work, 1}, both()));
    ASSERT_TRUE(Drive([&] { return a()->sent.size() == i + 1; }));
    EXPECT_EQ(a()->sent.back(), i + 77);
  }
  ASSERT_TRUE(Drive([&] { return b()->messages.size() == kWrites; }));
  for (uint64_t i = 0; i < kWrites; ++i) {
    EXPECT_EQ(PatternMismatch(absl::MakeConstSpan(landing.bytes).subspan(i * kSize, kSize), i), "");
  }
}

}  // namespace
}  // namespace mcp::internal
