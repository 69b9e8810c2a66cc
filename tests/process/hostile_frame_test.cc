// A peer that passes the handshake and then says one thing that is wrong: its session ends with an error that names
// field and value, nothing outside (or inside) what was exported is touched, and another session goes on.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "lib/wire/pack.h"
#include "tests/process/hostile_fixture.h"
#include "tests/process/sanitizer.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kGarbageKey = 0xdead'beef'0bad'cafe;
constexpr uint64_t kLargeMessage = 1 << 20;
constexpr std::byte kBad{0xbd};
// TcpFrame prefixes and fields made by hand.
constexpr uint32_t kBodyTooLong = kTcpFrameBodyBytesMax + 1;

struct Stage {
  HostileFixture& test;
  RawPeer& peer;
  HostileFixture::Visitor& visitor;

  std::vector<std::byte> Bytes(uint64_t size) const { return std::vector<std::byte>(size, kBad); }
};

Frame MakeFrame(FrameType type, uint64_t payload_bytes, uint64_t word0 = 0, uint64_t word1 = 0, uint64_t word2 = 0) {
  Frame frame;
  frame.type = type;
  frame.payload_bytes = payload_bytes;
  frame.words[0] = word0;
  frame.words[1] = word1;
  frame.words[2] = word2;
  return frame;
}

// A good put's header with one of its bytes changed, and sealed again.
void SendChanged(Stage& stage, size_t byte, uint8_t value) {
  std::vector<std::byte> header = SealedHeader(MakeFrame(FrameType::kPut, 64, stage.test.key(), 0));
  header[byte] = std::byte{value};
  Reseal(&header);
  stage.peer.SendHeader(header, stage.Bytes(64));
}

void SendPut(Stage& stage, uint64_t key, uint64_t offset, uint64_t size) {
  stage.peer.Send(MakeFrame(FrameType::kPut, size, key, offset), stage.Bytes(size));
}

void SendTile(Stage& stage, uint64_t key, uint64_t offset, uint64_t length) {
  stage.peer.Write(key, offset, length, MakeFrame(FrameType::kTile, length, key, offset),
                   stage.Bytes(std::min<uint64_t>(length, 1000)));
}

// Two entries of 64 bytes: a good one at the start of the exported memory, or of any tag, then one of these words. Good
// ones are placed, as frames of their own before a wrong one are; they write what is there, so that no harm shows.
std::vector<std::byte> Packed(const Stage& stage, FrameType type, uint64_t word0, uint64_t word1) {
  const std::vector<std::byte> harmless(64, kUntouched);
  const uint64_t first_word = type == FrameType::kPuts ? stage.test.key() : word0;
  const std::vector<std::byte> payload = word0 == first_word && word1 == 0 ? harmless : stage.Bytes(harmless.size());
  std::vector<std::byte> pack(2 * (PackEntryBytes(type) + payload.size()));
  std::byte* const end = EncodePackEntry(type, {{first_word, 0}, harmless.data(), harmless.size()}, pack.data());
  EncodePackEntry(type, {{word0, word1}, payload.data(), payload.size()}, end);
  return pack;
}

void SendPack(Stage& stage, FrameType type, uint64_t count, const std::vector<std::byte>& pack) {
  Frame frame = MakeFrame(type, pack.size(), count);
  frame.flags = kFlagPayloadChecked;
  frame.payload_checksum = Checksum(pack.data(), pack.size());
  stage.peer.Send(frame, pack);
}

void SendTcpPrefix(Stage& stage, uint64_t prefix) {
  std::byte bytes[kTcpFramePrefixBytes];
  StoreLittleEndian<uint64_t>(bytes, prefix);
  stage.peer.SendControl(bytes);
}

// The key of a landing: of a receive that the peer announced a large message for.
uint64_t MakeLanding(Stage& stage) {
  static constexpr uint64_t kTag = 5;
  auto buffer = stage.test.engine()->Allocate(kLargeMessage);
  if (!buffer.ok()) return 0;
  stage.test.ops().Receive(stage.visitor.session, kTag, buffer->All());
  stage.peer.Send(MakeFrame(FrameType::kRequest, kLargeMessage, kTag, 77));
  Frame grant;
  if (!stage.peer.Await(FrameType::kGrant, &grant)) return 0;
  EXPECT_EQ(grant.grant.transfer, 77u);
  return grant.grant.key;
}

struct Attack {
  const char* name;
  std::vector<std::string> says;  // all of it, in the session's error
  void (*act)(Stage&);
};

const std::vector<Attack>& Attacks() {
  static const std::vector<Attack>* const
      attacks =
          new std::
              vector<Attack>{
                  {"type_unknown", {"frame type 99 is unknown"}, [](Stage& s) { SendChanged(s, 0, 99); }},
                  {"type_zero", {"frame type 0 is unknown"}, [](Stage& s) { SendChanged(s, 0, 0); }},
                  {"flags_unknown", {"put frame: flags 128"}, [](Stage& s) { SendChanged(s, 1, 128); }},
                  {"header_bytes",
                   {"put frame: header_bytes 40 should be 48"},
                   [](Stage& s) {
                     std::vector<std::byte> header = SealedHeader(MakeFrame(FrameType::kPut, 64, s.test.key(), 0));
                     header.resize(40);
                     StoreLittleEndian<uint16_t>(header.data() + 2, 40);
                     Reseal(&header);
                     s.peer.SendHeader(header, s.Bytes(64));
                   }},
                  {"sequence_far_ahead",
                   {"put frame: sequence 1000000"},
                   [](Stage& s) {
                     s.peer.sequence = 1'000'000;
                     SendPut(s, s.test.key(), 0, 64);
                   }},
                  {"acknowledged_beyond_sent",
                   {"ack frame: acknowledged 77 is beyond 0 sent"},
                   [](Stage& s) {
                     s.peer.heard = 77;
                     s.peer.Acknowledge();
                   }},
                  {"payload_bytes_of_a_put",
                   {"damaged payload", "put frame: payload_bytes 4096, and 64 came"},
                   [](Stage& s) {
                     for (int i = 0; i < 1100; ++i) {
                       s.peer.sequence = 0;  // asked for again, it does no better
                       s.peer.Send(MakeFrame(FrameType::kPut, 4096, s.test.key(), 0), s.Bytes(64));
                     }
                   }},
                  {"put_key_garbage",
                   {"key 0xdeadbeef0badcafe names no memory"},
                   [](Stage& s) { SendPut(s, kGarbageKey, 0, 64); }},
                  {"put_key_stale",
                   {"names memory that was taken back"},
                   [](Stage& s) { SendPut(s, s.test.RevokedKey(), 0, 64); }},
                  {"put_offset",
                   {"offset 10001 + length 64 exceeds the 10000 bytes"},
                   [](Stage& s) { SendPut(s, s.test.key(), kGuardedBytes + 1, 64); }},
                  {"put_length",
                   {"offset 9937 + length 64 exceeds the 10000 bytes"},
                   [](Stage& s) { SendPut(s, s.test.key(), kGuardedBytes - 63, 64); }},
                  {"put_offset_overflows",
                   {"offset 18446744073709551600 + length 64 exceeds"},
                   [](Stage& s) { SendPut(s, s.test.key(), kHuge - 15, 64); }},
                  {"put_read_only",
                   {"does not allow remote writes"},
                   [](Stage& s) { SendPut(s, s.test.read_only_key(), 0, 64); }},
                  {"put_with_a_write",
                   {"put frame came with a write"},
                   [](Stage& s) {
                     s.peer.Write(s.test.key(), 0, 0, MakeFrame(FrameType::kPut, 0, s.test.key(), 0), {});
                   }},
                  {"tile_without_a_write",
                   {"tile frame came without a write"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kTile, 64, s.test.key(), 0)); }},
                  {"tile_key_garbage",
                   {"key 0xdeadbeef0badcafe names no memory"},
                   [](Stage& s) { SendTile(s, kGarbageKey, 0, 100'000); }},
                  {"tile_key_stale",
                   {"names memory that was taken back"},
                   [](Stage& s) { SendTile(s, s.test.RevokedKey(), 0, 1000); }},
                  {"tile_offset",
                   {"offset 9999 + length 100000 exceeds the 10000 bytes"},
                   [](Stage& s) { SendTile(s, s.test.key(), kGuardedBytes - 1, 100'000); }},
                  {"tile_offset_overflows",
                   {"offset 18446744073709551615 + length 100000 exceeds"},
                   [](Stage& s) { SendTile(s, s.test.key(), kHuge, 100'000); }},
                  {"tile_read_only",
                   {"does not allow remote writes"},
                   [](Stage& s) { SendTile(s, s.test.read_only_key(), 0, 1000); }},
                  {"tile_header_names_other_memory",
                   {"offset 5000 + length 10000 exceeds the 10000 bytes"},
                   [](Stage& s) {
                     s.peer.Write(s.test.key(), 0, 0, MakeFrame(FrameType::kTile, kGuardedBytes, s.test.key(), 5000),
                                  {});
                   }},
                  {"get_key_garbage",
                   {"key 0xdeadbeef0badcafe names no memory"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGet, 64, kGarbageKey, 0, 1)); }},
                  {"get_key_stale",
                   {"names memory that was taken back"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGet, 64, s.test.RevokedKey(), 0, 1)); }},
                  {"get_length",
                   {"offset 0 + length 10001 exceeds the 10000 bytes"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGet, kGuardedBytes + 1, s.test.key(), 0, 1)); }},
                  {"get_length_overflows",
                   {"offset 1 + length 18446744073709551615 exceeds"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGet, kHuge, s.test.key(), 1, 1)); }},
                  {"get_write_only",
                   {"does not allow remote reads"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGet, 64, s.test.write_only_key(), 0, 1)); }},
                  {"get_of_a_landing",
                   {"get frame: the key names a landing", "|does not allow remote reads"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGet, 64, MakeLanding(s), 0, 1)); }},
                  {"more_gets_than_allowed",
                   {"get frame: more than", "gets in flight"},
                   [](Stage& s) {
                     // What it said in its hello, and as many as may be on their way back; it acknowledges none.
                     for (int i = 0; i < 20'000; ++i) s.peer.Send(MakeFrame(FrameType::kGet, 64, s.test.key(), 0, 1));
                   }},
                  {"landing_overfilled",
                   {"payload_bytes 32769 exceeds the 32768 that the landing still awaits"},
                   [](Stage& s) {
                     const uint64_t key = MakeLanding(s);
                     for (uint64_t offset = 0; offset < kLargeMessage - 65536; offset += 32768) {
                       s.peer.Send(MakeFrame(FrameType::kPut, 32768, key, offset), s.Bytes(32768));
                     }
                     s.peer.Send(MakeFrame(FrameType::kPut, 32768, key, 0), s.Bytes(32768));
                     s.peer.Send(MakeFrame(FrameType::kPut, 32769, key, 0), s.Bytes(32769));
                   }},
                  {"grant_unknown",
                   {"grant frame: transfer 12345 was never announced"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kGrant, 0, 12345, 1, 64)); }},
                  {"connect_to_the_accepting_side",
                   {"connect frame: the rails are not this side's to connect"},
                   [](Stage& s) { s.peer.Send(MakeFrame(FrameType::kConnect, 0, 1)); }},
                  {"packed_put_key_garbage",
                   {"key 0xdeadbeef0badcafe names no memory"},
                   [](Stage& s) { SendPack(s, FrameType::kPuts, 2, Packed(s, FrameType::kPuts, kGarbageKey, 0)); }},
                  {"packed_put_offset",
                   {"offset 10001 + length 64 exceeds the 10000 bytes"},
                   [](Stage& s) {
                     SendPack(s, FrameType::kPuts, 2, Packed(s, FrameType::kPuts, s.test.key(), kGuardedBytes + 1));
                   }},
                  {"packed_put_read_only",
                   {"does not allow remote writes"},
                   [](Stage& s) {
                     SendPack(s, FrameType::kPuts, 2, Packed(s, FrameType::kPuts, s.test.read_only_key(), 0));
                   }},
                  {"packed_put_length",
                   {"puts frame: entry 1 of count 2 exceeds the 64 bytes that are left of payload_bytes 176"},
                   [](Stage& s) {
                     std::vector<std::byte> pack = Packed(s, FrameType::kPuts, s.test.key(), 0);
                     StoreLittleEndian<uint64_t>(pack.data() + 88 + 16, kHuge);
                     SendPack(s, FrameType::kPuts, 2, pack);
                   }},
                  {"packed_puts_fewer_than_counted",
                   {"puts frame: entry 2 of count 18446744073709551615 exceeds the 0 bytes"},
                   [](Stage& s) { SendPack(s, FrameType::kPuts, kHuge, Packed(s, FrameType::kPuts, s.test.key(), 0)); }},
                  {"packed_puts_more_than_counted",
                   {"puts frame: 88 bytes behind the last of count 1 entries"},
                   [](Stage& s) { SendPack(s, FrameType::kPuts, 1, Packed(s, FrameType::kPuts, s.test.key(), 0)); }},
                  {"packed_messages_fewer_than_counted",
                   {"messages frame: entry 2 of count 3 exceeds the 0 bytes"},
                   [](Stage& s) { SendPack(s, FrameType::kMessages, 3, Packed(s, FrameType::kMessages, 3, 0)); }},
                  {"packed_messages_more_than_counted",
                   {"messages frame: 80 bytes behind the last of count 1 entries"},
                   [](Stage& s) { SendPack(s, FrameType::kMessages, 1, Packed(s, FrameType::kMessages, 3, 0)); }},
                  {"packed_message_cut_short",
                   {"messages frame: entry 1 of count 2 exceeds the 7 bytes"},
                   [](Stage& s) {
                     std::vector<std::byte> pack = Packed(s, FrameType::kMessages, 3, 0);
                     pack.resize(80 + 7);
                     SendPack(s, FrameType::kMessages, 2, pack);
                   }},
                  {"packed_messages_beyond_credit",
                   {"unmatched messages of", "exceed the credit of 4194304"},
                   [](Stage& s) {
                     const std::vector<std::byte> pack = Packed(s, FrameType::kMessages, 3, 0);
                     for (int i = 0; i < (4 << 20) / 256 + 1; ++i) SendPack(s, FrameType::kMessages, 2, pack);
                   }},
                  {"pack_unchecked",
                   {"puts frame: flags 0 lacks bits of 1"},
                   [](Stage& s) { s.peer.SendHeader(SealedHeader(MakeFrame(FrameType::kPuts, 0, 0)), {}); }},
                  {"credit_beyond_spent",
                   {"ack frame: credit 5000 is beyond 0 spent"},
                   [](Stage& s) {
                     Frame ack;
                     ack.ack.credit = 5000;
                     s.peer.Send(ack);
                   }},
                  {"more_unmatched_than_credit",
                   {"unmatched messages of", "exceed the credit of 4194304"},
                   [](Stage& s) {
                     for (int i = 0; i < 65; ++i) s.peer.Send(MakeFrame(FrameType::kEager, 65'000, 3), s.Bytes(65'000));
                   }},
                  {"more_hedged_than_credit",
                   {"unmatched messages of", "exceed the credit of 4194304"},
                   [](Stage& s) {
                     for (uint64_t i = 0; i < 65; ++i)
                       s.peer.Send(MakeFrame(FrameType::kHedged, 65'000, 3, i), s.Bytes(65'000));
                   }},
                  {"more_requests_than_credit",
                   {"unmatched messages of", "exceed the credit of 4194304"},
                   [](Stage& s) {
                     for (uint64_t i = 0; i < (4 << 20) / 64 + 1; ++i)
                       s.peer.Send(MakeFrame(FrameType::kRequest, 1 << 20, 3, i));
                   }},
                  {"tcp_type_unknown",
                   {"tcp frame: type is 0x9, expected 1 to 3"},
                   [](Stage& s) { SendTcpPrefix(s, uint64_t{9} << 32 | 8); }},
                  {"tcp_flags_unknown",
                   {"tcp frame: flags is 0x40, expected 0 or 1"},
                   [](Stage& s) { SendTcpPrefix(s, uint64_t{64} << 40 | uint64_t{1} << 32); }},
                  {"tcp_reserved",
                   {"tcp frame: reserved is 0x3, expected 0"},
                   [](Stage& s) { SendTcpPrefix(s, uint64_t{3} << 48 | uint64_t{1} << 32); }},
                  {"tcp_body_bytes",
                   {"tcp frame: body_bytes is 0x10119, expected at most 65816"},
                   [](Stage& s) { SendTcpPrefix(s, uint64_t{1} << 32 | kBodyTooLong); }},
                  {"tcp_write_without_fields",
                   {"tcp write frame: body_bytes is 0x8, expected at least 24"},
                   [](Stage& s) { SendTcpPrefix(s, uint64_t{2} << 32 | 8); }},
                  {"tcp_write_length",
                   {"tcp write frame: length is 0xffffffffffffffff, expected at most"},
                   [](Stage& s) {
                     s.peer.WriteHeader(s.test.key(), 0, kHuge,
                                        SealedHeader(MakeFrame(FrameType::kTile, 1, s.test.key(), 0)));
                   }},
              };
  return *attacks;
}

using HostileCase = std::tuple<TransportKind, size_t>;

class HostileFrame : public HostileFixture, public testing::WithParamInterface<HostileCase> {};

// `says` may hold one alternative, marked by a bar.
bool Names(absl::string_view message, const std::vector<std::string>& says) {
  bool all = true;
  for (const std::string& part : says) {
    if (part.front() == '|') return all || absl::StrContains(message, part.substr(1));
    all = all && absl::StrContains(message, part);
  }
  return all;
}

TEST_P(HostileFrame, EndsItsOwnSessionOnly) {
  const auto& [kind, index] = GetParam();
  const Attack& attack = Attacks()[index];
  if (const std::string reason = WhyNoTransport(kind); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_TRUE(Open(kind, 1, std::chrono::seconds(10)));
  RawPeer peer;
  ASSERT_TRUE(peer.Connect(door(), GoodHello()) && peer.accepted()) << peer.refusal();
  Visitor* const visitor = AwaitVisitor(1);
  ASSERT_NE(visitor, nullptr);
  Stage stage{*this, peer, *visitor};
  attack.act(stage);
  const absl::Status end = AwaitEnd(visitor);
  EXPECT_TRUE(Names(end.message(), attack.says)) << end;
  EXPECT_TRUE(absl::StrContains(end.message(), "127.0.0.1:")) << "whose session? " << end;
  EXPECT_TRUE(peer.AwaitEnd(kPatienceNs)) << "the connection is still there";
  ExpectNoHarm();
}

std::vector<HostileCase> AllHostileCases() {
  std::vector<HostileCase> cases;
  for (const TransportKind kind : {TransportKind::kTcpIoUring, TransportKind::kTcpEpoll}) {
    for (size_t i = 0; i < Attacks().size(); ++i) cases.emplace_back(kind, i);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Every, HostileFrame, testing::ValuesIn(AllHostileCases()),
                         [](const testing::TestParamInfo<HostileCase>& param) {
                           return absl::StrCat(TransportKindName(std::get<0>(param.param)), "_",
                                               Attacks()[std::get<1>(param.param)].name);
                         });

class HostileHold : public HostileFixture, public testing::WithParamInterface<TransportKind> {
 protected:
  // A peer that announces a write of all of the memory, sends half of it, and goes on living. Returns its session.
  Visitor* StartHalfAWrite(RawPeer* peer, uint64_t key) {
    if (!peer->Connect(door(), GoodHello()) || !peer->accepted()) return nullptr;
    Visitor* const visitor = AwaitVisitor(1);
    if (visitor == nullptr) return nullptr;
    Frame tile = MakeFrame(FrameType::kTile, kGuardedBytes, key, 0);
    peer->Write(key, 0, kGuardedBytes, tile, std::vector<std::byte>(kGuardedBytes / 2, kUntouched));
    // The answer shows that the announcement has been read.
    Frame ping;
    ping.flags = kFlagReplyWanted;
    ping.sequence = peer->sequence - 1;
    Frame answer;
    return peer->SendHeader(SealedHeader(ping), {}, kTcpFlagMayOvertake) && peer->Await(FrameType::kAck, &answer)
               ? visitor
               : nullptr;
  }
};

// Not hostile, but best shown by hand: what is sent again is hashed again, since exported memory may change.
TEST_P(HostileHold, WhatIsSentAgainIsHashedAgain) {
  if (kUnderThreadSanitizer) GTEST_SKIP() << "TSan does not see the order that a socket makes";
  if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_TRUE(Open(GetParam(), 1, std::chrono::seconds(60)));
  RawPeer peer;
  ASSERT_TRUE(peer.Connect(door(), GoodHello()) && peer.accepted()) << peer.refusal();
  peer.Send(MakeFrame(FrameType::kGet, 64, key(), 0, 1));
  Frame answer;
  ASSERT_TRUE(peer.Await(FrameType::kPut, &answer));
  EXPECT_EQ(answer.payload_checksum, Checksum(peer.body.data(), peer.body.size()));
  std::fill_n(memory().data(), 64, kBad);
  Frame again;
  again.flags = kFlagResend;
  again.sequence = peer.sequence;
  again.ack.resend = uint64_t{1} << 32 | answer.sequence;
  peer.Send(again);
  ASSERT_TRUE(peer.Await(FrameType::kPut, &answer));
  EXPECT_EQ(peer.body, std::vector<std::byte>(64, kBad));
  EXPECT_EQ(answer.payload_checksum, Checksum(peer.body.data(), peer.body.size()));
  EXPECT_TRUE(witness().Goes()) << witness().problem();
}

// Each request is answered once, however often it comes, and one too many ends the session.
TEST_P(HostileHold, WhatWasSentAgainIsNotSentOnceMore) {
  if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_TRUE(Open(GetParam(), 1, std::chrono::seconds(60)));
  RawPeer peer;
  ASSERT_TRUE(peer.Connect(door(), GoodHello()) && peer.accepted()) << peer.refusal();
  Visitor* const visitor = AwaitVisitor(1);
  ASSERT_NE(visitor, nullptr);
  peer.Send(MakeFrame(FrameType::kGet, 64, key(), 0, 1));
  Frame answer;
  ASSERT_TRUE(peer.Await(FrameType::kPut, &answer));
  Frame again;
  again.flags = kFlagResend;
  again.sequence = peer.sequence;
  for (const uint64_t times : {0, 1, 1, 0}) {
    again.ack.resend = times << 32 | answer.sequence;
    peer.Send(again);
  }
  ASSERT_TRUE(peer.Await(FrameType::kPut, &answer));
  for (const uint64_t times : {17, 18, 0x7fffffff}) {
    again.ack.resend = times << 32 | answer.sequence;
    peer.Send(again);
  }
  EXPECT_FALSE(peer.Await(FrameType::kPut, &answer)) << "a second copy";
  const absl::Status end = AwaitEnd(visitor);
  EXPECT_EQ(end.code(), absl::StatusCode::kDataLoss) << end;
  EXPECT_TRUE(witness().Goes()) << witness().problem();
}

TEST_P(HostileHold, CannotKeepARegionFromItsOwner) {
  if (const std::string reason = WhyNoTransport(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_TRUE(Open(GetParam(), 1, std::chrono::seconds(60)));
  RawPeer peer;
  Visitor* const visitor = StartHalfAWrite(&peer, key());
  ASSERT_NE(visitor, nullptr);
  region() = Region();  // returns although the other half never comes
  std::fill_n(memory().data(), memory().size(), kUntouched);
  SendAll(peer.data(), std::vector<std::byte>(kGuardedBytes / 2, kBad));
  const absl::Status end = AwaitEnd(visitor);
  EXPECT_TRUE(absl::StrContains(end.message(), "names memory that was taken back")) << end;
  ExpectNoHarm();
}

INSTANTIATE_TEST_SUITE_P(Every, HostileHold, testing::Values(TransportKind::kTcpIoUring, TransportKind::kTcpEpoll),
                         [](const testing::TestParamInfo<TransportKind>& param) {
                           return std::string(TransportKindName(param.param));
                         });

}  // namespace
}  // namespace mcp::internal
