// Before there is a session: wrong prefaces and hellos are refused with a reason, strangers who say nothing cost a
// bounded amount for a bounded time, and an honest client gets in meanwhile.
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "tests/process/hostile_fixture.h"
#include "tests/process/sanitizer.h"

namespace mcp::internal {
namespace {

// TcpConfig's default, and time for a busy machine.
constexpr int64_t kHandshakeTimeoutNs = 3 * kNsPerS;
constexpr int64_t kSlackNs = 4 * kNsPerS;
constexpr size_t kPipesMax = 8;  // descriptors of pipes that lanes keep for sending, made when first used
constexpr size_t kHelloChecksumOffset = kHelloBytes - 8;

using Bytes = std::vector<std::byte>;

Bytes HelloBytes(const Hello& hello) {
  const auto encoded = EncodeHello(hello);
  return Bytes(encoded.begin(), encoded.end());
}

// A good hello with an integer of it changed, and its checksum made to hold.
template <class T>
Bytes ChangedHello(size_t offset, T value) {
  Bytes bytes = HelloBytes(GoodHello());
  StoreLittleEndian<T>(bytes.data() + offset, value);
  StoreLittleEndian<uint64_t>(bytes.data() + kHelloChecksumOffset, Checksum(bytes.data(), kHelloChecksumOffset));
  return bytes;
}

struct BadHello {
  const char* name;
  const char* says;
  Bytes bytes;
};

const std::vector<BadHello>& BadHellos() {
  static const auto* const hellos = new std::vector<BadHello>{
      {"magic", "handshake: magic 0x12345678 should be 0x5350434d", ChangedHello<uint32_t>(0, 0x12345678)},
      {"version", "handshake: version 77 is not spoken here, only 3", ChangedHello<uint16_t>(4, 77)},
      {"length", "handshake: length 95 (96 received) should be 96", ChangedHello<uint16_t>(6, 95)},
      {"too_short", "handshake: length 5 is too short", Bytes(5)},
      {"too_long", "handshake: length 96 (97 received) should be 96",
       [] {
         Bytes bytes = HelloBytes(GoodHello());
         bytes.push_back(std::byte{0});
         return bytes;
       }()},
      {"checksum", "handshake: the checksum does not hold",
       [] {
         Bytes bytes = HelloBytes(GoodHello());
         bytes[20] ^= std::byte{1};
         return bytes;
       }()},
      {"features", "handshake: features 0x8001 has bits that version 3 does not know",
       ChangedHello<uint64_t>(8, 0x8001)},
      {"no_rails", "handshake: rails 0", ChangedHello<uint16_t>(34, 0)},
      {"too_many_rails", "handshake: rails 9", ChangedHello<uint16_t>(34, 9)},
      {"rail_index", "handshake: rail 3 of 1 does not exist", ChangedHello<uint16_t>(32, 3)},
      {"outstanding_max_zero", "handshake: outstanding_max 0", ChangedHello<uint32_t>(44, 0)},
      {"outstanding_max", "handshake: outstanding_max 4294967295", ChangedHello<uint32_t>(44, 0xffffffff)},
      {"token_for_rail_0", "handshake: session_token 31337 for rail 0", ChangedHello<uint64_t>(24, 31337)},
      {"token_unknown", "handshake: session_token names no session",
       [] {
         Hello hello = GoodHello();
         hello.rails = 2;
         hello.rail = 1;
         hello.session_token = 31337;
         return HelloBytes(hello);
       }()},
  };
  return *hellos;
}

using Case = std::tuple<TransportKind, size_t>;

class HostileHello : public HostileFixture, public testing::WithParamInterface<Case> {};

TEST_P(HostileHello, IsRefusedWithAReason) {
  const auto& [kind, index] = GetParam();
  if (const std::string reason = WhyNoTransport(kind); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_TRUE(Open(kind, 1, std::chrono::seconds(10)));
  const BadHello& bad = BadHellos()[index];
  RawPeer peer;
  ASSERT_TRUE(peer.Connect(door(), bad.bytes));
  EXPECT_FALSE(peer.accepted());
  EXPECT_TRUE(absl::StrContains(peer.refusal(), bad.says)) << peer.refusal();
  EXPECT_TRUE(peer.AwaitEnd(kPatienceNs));
  EXPECT_EQ(visitors(), 0u);
  ExpectNoHarm();
}

std::vector<Case> AllHelloCases() {
  std::vector<Case> cases;
  for (const TransportKind kind : {TransportKind::kTcpIoUring, TransportKind::kTcpEpoll}) {
    for (size_t i = 0; i < BadHellos().size(); ++i) cases.emplace_back(kind, i);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Every, HostileHello, testing::ValuesIn(AllHelloCases()),
                         [](const testing::TestParamInfo<Case>& param) {
                           return absl::StrCat(TransportKindName(std::get<0>(param.param)), "_",
                                               BadHellos()[std::get<1>(param.param)].name);
                         });

class HostileConnection : public HostileFixture, public testing::WithParamInterface<TransportKind> {
 protected:
  bool OpenDoor(int rails) { return Open(GetParam(), rails, std::chrono::seconds(10)); }
  // A session of two rails, of which the peer has made the first. The hello is then as its second one's. Null: there is
  // none.
  Visitor* StartSessionOfTwo(RawPeer* first, Hello* hello) {
    *hello = GoodHello();
    hello->rails = 2;
    if (!OpenDoor(2) || !first->Connect(door(), *hello) || !first->accepted()) return nullptr;
    hello->rail = 1;
    hello->session_token = first->reply().session_token;
    return AwaitVisitor(1);
  }
  void SetUp() override {
    if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  }
};

std::string KindName(const testing::TestParamInfo<TransportKind>& param) {
  return std::string(TransportKindName(param.param));
}

INSTANTIATE_TEST_SUITE_P(Every, HostileConnection,
                         testing::Values(TransportKind::kTcpIoUring, TransportKind::kTcpEpoll), KindName);

// What is wrong before there is anyone to answer: the socket is closed.
TEST_P(HostileConnection, AWrongPrefaceEndsIt) {
  ASSERT_TRUE(OpenDoor(1));
  std::byte good[kTcpPrefaceBytes];
  EncodeTcpPreface({.role = TcpRole::kControl, .hello_bytes = kHelloBytes, .token = 99, .host_tag = 0}, good);
  const struct {
    const char* field;
    size_t byte;
    uint8_t value;
  } changes[] = {
      {"magic", 0, 'M'}, {"version", 8, 200}, {"role", 10, 7}, {"reserved", 11, 1}, {"hello_bytes", 14, 255}};
  for (const auto& change : changes) {
    SCOPED_TRACE(change.field);
    Bytes preface(good, good + kTcpPrefaceBytes);
    preface[change.byte] = std::byte{change.value};
    const int fd = DialTcp(door());
    ASSERT_GE(fd, 0);
    EXPECT_TRUE(SendAll(fd, preface));
    // At once: not by the handshake's timeout.
    EXPECT_TRUE(AwaitHangup(fd, kHandshakeTimeoutNs / 2));
    close(fd);
  }
  EXPECT_EQ(visitors(), 0u);
  ExpectNoHarm();
}

// A second rail that says what belongs on the first; and one that comes twice.
TEST_P(HostileConnection, WhatBelongsOnRail0) {
  RawPeer first;
  Hello hello;
  Visitor* const visitor = StartSessionOfTwo(&first, &hello);
  ASSERT_NE(visitor, nullptr) << first.refusal();
  RawPeer early;
  ASSERT_TRUE(early.Connect(door(), hello));
  EXPECT_FALSE(early.accepted());
  EXPECT_TRUE(absl::StrContains(early.refusal(), "generation 0 for rail 1")) << early.refusal();
  hello.generation = 1;
  RawPeer second;
  ASSERT_TRUE(second.Connect(door(), hello) && second.accepted()) << second.refusal();
  RawPeer third;
  ASSERT_TRUE(third.Connect(door(), hello));
  EXPECT_FALSE(third.accepted());
  EXPECT_TRUE(absl::StrContains(third.refusal(), "generation 1 of rail 1 is not after 1")) << third.refusal();
  Frame frame;
  frame.type = FrameType::kEager;
  frame.payload_bytes = 64;
  second.Send(frame, Bytes(64));
  const absl::Status end = AwaitEnd(visitor);
  EXPECT_TRUE(absl::StrContains(end.message(), "rail 1: the peer broke the protocol: eager frame: belongs on rail 0"))
      << end;
  EXPECT_TRUE(first.AwaitEnd(kPatienceNs));
  EXPECT_TRUE(second.AwaitEnd(kPatienceNs));
  ExpectNoHarm();
}

// A connection that the peer may not have, since it has said nothing on it yet: it carries nothing, and may come and
// go.
TEST_P(HostileConnection, ARailThatHasSaidNothingIsNotUsed) {
  RawPeer first;
  Hello hello;
  Visitor* const visitor = StartSessionOfTwo(&first, &hello);
  ASSERT_NE(visitor, nullptr) << first.refusal();
  const auto connected = [&] { return !visitor->session.Describe().rails[1].remote.empty(); };
  for (hello.generation = 1; hello.generation < 40; ++hello.generation) {
    RawPeer second;
    ASSERT_TRUE(second.Connect(door(), hello) && second.accepted()) << second.refusal();
    EXPECT_FALSE(connected());
  }
  RawPeer last;
  ASSERT_TRUE(last.Connect(door(), hello) && last.accepted()) << last.refusal();
  last.Send(Frame());  // an acknowledgement
  EXPECT_TRUE(world().Drive(connected));
  EXPECT_TRUE(visitor->session.status().ok()) << visitor->session.status();
  EXPECT_EQ(visitor->session.Statistics().reconnections, 0u);
  ExpectNoHarm();
}

// Only who knows the session, and comes with a later generation than the rail has, takes the rail over.
TEST_P(HostileConnection, AStaleGenerationConfiguresNothing) {
  ASSERT_TRUE(OpenDoor(1));
  Hello hello = GoodHello();
  RawPeer first;
  ASSERT_TRUE(first.Connect(door(), hello) && first.accepted()) << first.refusal();
  Visitor* const visitor = AwaitVisitor(1);
  ASSERT_NE(visitor, nullptr);
  hello.session_token = first.reply().session_token;
  hello.generation = 2;
  const auto expect_refused = [&](const Hello& wrong, absl::string_view why) {
    RawPeer peer;
    ASSERT_TRUE(peer.Connect(door(), wrong));
    EXPECT_FALSE(peer.accepted());
    EXPECT_TRUE(absl::StrContains(peer.refusal(), why)) << peer.refusal();
  };
  Hello stranger = hello;
  stranger.engine_id ^= 1;
  expect_refused(stranger, "names no session");
  stranger = hello;
  stranger.session_token ^= 1;
  expect_refused(stranger, "names no session");
  RawPeer second;
  ASSERT_TRUE(second.Connect(door(), hello) && second.accepted()) << second.refusal();
  EXPECT_EQ(second.reply().generation, 2u);
  EXPECT_TRUE(first.AwaitEnd(kPatienceNs)) << "two connections of one rail";
  expect_refused(hello, "generation 2 of rail 0 is not after 2");
  hello.generation = 1;
  expect_refused(hello, "generation 1 of rail 0 is not after 2");
  EXPECT_TRUE(visitor->session.status().ok()) << visitor->session.status();
  // One that claims to have taken what was never sent.
  hello.generation = 3;
  hello.acknowledged = hello.taken = 1000;
  RawPeer third;
  ASSERT_TRUE(third.Connect(door(), hello) && third.accepted()) << third.refusal();
  const absl::Status end = AwaitEnd(visitor);
  EXPECT_TRUE(absl::StrContains(end.message(), "acknowledged 1000 is beyond")) << end;
  ExpectNoHarm();
}

// A peer that passes the handshake and then says nothing has a session for as long as its silence may last.
TEST_P(HostileConnection, ASilentPeerIsDead) {
  ASSERT_TRUE(Open(GetParam(), 1, std::chrono::milliseconds(500)));
  RawPeer peer;
  ASSERT_TRUE(peer.Connect(door(), GoodHello()) && peer.accepted()) << peer.refusal();
  Visitor* const visitor = AwaitVisitor(1);
  ASSERT_NE(visitor, nullptr);
  const absl::Status end = AwaitEnd(visitor);
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(end.message(), "no sign of life for")) << end;
  ExpectNoHarm();
}

size_t OpenDescriptors() {
  size_t count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

uint64_t ResidentBytes() {
  unsigned long pages = 0;
  unsigned long resident = 0;
  FILE* const file = fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  const int read = fscanf(file, "%lu %lu", &pages, &resident);
  fclose(file);
  return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

// In turn: nothing, one byte, a whole preface whose sibling never comes, a preface whose hello never comes.
int DialAsStranger(const std::string& address, size_t index) {
  const int fd = DialTcp(address);
  if (fd < 0) return fd;
  std::byte preface[kTcpPrefaceBytes];
  EncodeTcpPreface({.role = TcpRole::kControl, .hello_bytes = kHelloBytes, .token = index + 1000, .host_tag = 0},
                   preface);
  Bytes says(preface, preface + kTcpPrefaceBytes);
  switch (index % 4) {
    case 0:
      return fd;
    case 1:
      says.resize(1);
      break;
    case 2: {
      const Bytes hello = HelloBytes(GoodHello());
      says.insert(says.end(), hello.begin(), hello.end());
      break;
    }
    default:
      break;
  }
  SendAll(fd, says);
  return fd;
}

// Every one of them is gone when the handshake's time is over, whatever it said.
void ExpectAllEnd(const std::vector<int>& strangers, int64_t began_ns) {
  SystemClock clock;
  for (const int fd : strangers) {
    const int64_t left_ns = began_ns + kHandshakeTimeoutNs + kSlackNs - clock.NowNs();
    EXPECT_TRUE(AwaitHangup(fd, left_ns)) << "a stranger is still there";
  }
}

TEST_P(HostileConnection, StrangersCostLittleForAWhile) {
  constexpr size_t kStrangers = 300;
  ASSERT_TRUE(OpenDoor(1));
  const size_t descriptors_before = OpenDescriptors();
  const uint64_t resident_before = ResidentBytes();
  SystemClock clock;
  std::vector<int> strangers;
  for (size_t i = 0; i < kStrangers; ++i) {
    strangers.push_back(DialAsStranger(door(), i));
    ASSERT_GE(strangers.back(), 0);
  }
  const int64_t began_ns = clock.NowNs();
  // An honest client does not wait for them.
  RawPeer honest;
  ASSERT_TRUE(honest.Connect(door(), GoodHello()) && honest.accepted()) << honest.refusal();
  EXPECT_LT(clock.NowNs() - began_ns, kHandshakeTimeoutNs / 2);
  EXPECT_TRUE(witness().Goes()) << witness().problem();
  ExpectAllEnd(strangers, began_ns);
  for (const int fd : strangers) close(fd);
  const uint64_t grown = std::max(ResidentBytes(), resident_before) - resident_before;
  std::printf("%zu strangers: resident memory grew by %s\n", kStrangers, FormatBytes(grown).c_str());
  if (!kUnderAddressSanitizer && !kUnderThreadSanitizer) {  // they keep what is freed
    EXPECT_LT(grown, 16 * kMiB);
  }
  // The honest one has two sockets, at both ends; and engines keep pipes.
  EXPECT_LE(OpenDescriptors(), descriptors_before + 4 + kPipesMax);
  ExpectNoHarm();
}

// More than may wait at once, some of which leave again: no more is held than may wait.
TEST_P(HostileConnection, AFloodIsCutOff) {
  constexpr size_t kStrangers = 1500;
  constexpr size_t kWaitMax = 512;  // TcpConfig::pending_sockets_max
  ASSERT_TRUE(OpenDoor(1));
  const size_t descriptors_before = OpenDescriptors();
  SystemClock clock;
  const int64_t began_ns = clock.NowNs();
  std::vector<int> strangers;
  size_t held_max = 0;
  for (size_t i = 0; i < kStrangers; ++i) {
    const int fd = DialAsStranger(door(), i);
    ASSERT_GE(fd, 0);
    if (i % 3 == 0) {
      close(fd);
    } else {
      strangers.push_back(fd);
    }
    if (i % 50 == 0) held_max = std::max(held_max, OpenDescriptors() - descriptors_before - strangers.size());
  }
  std::printf("%zu strangers: at most %zu of their sockets were held at once\n", kStrangers, held_max);
  EXPECT_LE(held_max, kWaitMax + 64);  // and what is accepted and closed in the same round
  EXPECT_TRUE(witness().Goes()) << witness().problem();
  ExpectAllEnd(strangers, std::max(began_ns, clock.NowNs()));
  for (const int fd : strangers) close(fd);
  EXPECT_TRUE(world().Drive([&] { return OpenDescriptors() <= descriptors_before + kPipesMax; }))
      << OpenDescriptors() << " descriptors, " << descriptors_before << " before";
  RawPeer honest;
  ASSERT_TRUE(honest.Connect(door(), GoodHello()) && honest.accepted()) << honest.refusal();
  ExpectNoHarm();
}

}  // namespace
}  // namespace mcp::internal
