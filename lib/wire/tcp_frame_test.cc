#include "lib/wire/tcp_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

std::byte* Data(std::string& text) { return reinterpret_cast<std::byte*>(text.data()); }

std::string Preface(const TcpPreface& preface) {
  std::string bytes(kTcpPrefaceBytes, '\0');
  EncodeTcpPreface(preface, Data(bytes));
  return bytes;
}

TEST(TcpFrame, PrefacesComeBack) {
  std::string bytes =
      Preface({.role = TcpRole::kControl, .hello_bytes = 1024, .token = 0x0123456789abcdef, .host_tag = 42});
  EXPECT_EQ(bytes.substr(0, 8), "mcp-tcp\n");
  const auto preface = ParseTcpPreface(Data(bytes));
  ASSERT_TRUE(preface.ok()) << preface.status();
  EXPECT_EQ(preface->role, TcpRole::kControl);
  EXPECT_EQ(preface->hello_bytes, 1024u);
  EXPECT_EQ(preface->token, 0x0123456789abcdefu);
  EXPECT_EQ(preface->host_tag, 42u);
}

TEST(TcpFrame, BadPrefacesNameTheField) {
  struct Case {
    size_t at;
    char value;
    const char* field;
  };
  for (const Case& bad : {Case{0, 'G', "magic"}, Case{8, 9, "version"}, Case{10, 3, "role"}, Case{11, 1, "reserved"},
                          Case{14, 1, "hello_bytes"}}) {
    std::string bytes = Preface({.role = TcpRole::kControl, .hello_bytes = 0, .token = 1, .host_tag = 2});
    bytes[bad.at] = bad.value;
    const auto preface = ParseTcpPreface(Data(bytes));
    EXPECT_EQ(preface.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(preface.status().message()), HasSubstr(bad.field));
  }
  std::string data = Preface({.role = TcpRole::kData, .hello_bytes = 1, .token = 1, .host_tag = 2});
  EXPECT_FALSE(ParseTcpPreface(Data(data)).ok());
}

TEST(TcpFrame, RepliesComeBack) {
  for (const bool accepted : {true, false}) {
    std::string bytes(kTcpReplyBytes, '\0');
    EncodeTcpReply({.accepted = accepted, .same_host = true, .body_bytes = 17}, Data(bytes));
    const auto reply = ParseTcpReply(Data(bytes));
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->accepted, accepted);
    EXPECT_TRUE(reply->same_host);
    EXPECT_EQ(reply->body_bytes, 17u);
    bytes[14] = 1;
    EXPECT_THAT(std::string(ParseTcpReply(Data(bytes)).status().message()), HasSubstr("body_bytes"));
  }
}

std::string Frame(TcpFrameType type, uint8_t flags, const std::string& body) {
  std::string bytes(kTcpFramePrefixBytes, '\0');
  EncodeTcpFramePrefix(type, flags, static_cast<uint32_t>(body.size()), Data(bytes));
  return bytes + body;
}

TEST(TcpFrame, EveryPrefixOfAFrameWantsMore) {
  std::string fields(kTcpWriteFieldsBytes, '\0');
  EncodeTcpWriteFields(1, 2, 3, Data(fields));
  std::string frame = Frame(TcpFrameType::kWrite, kTcpFlagMayOvertake, fields + "header");
  TcpFrame parsed;
  size_t bytes = 0;
  for (size_t size = 0; size < frame.size(); ++size) {
    ASSERT_EQ(ParseTcpFrame(Data(frame), size, &parsed, &bytes), TcpParse::kNeedMore);
    EXPECT_EQ(bytes, size < kTcpFramePrefixBytes ? kTcpFramePrefixBytes : frame.size());
  }
  frame += "the next";
  ASSERT_EQ(ParseTcpFrame(Data(frame), frame.size(), &parsed, &bytes), TcpParse::kFrame);
  EXPECT_EQ(bytes, frame.size() - 8);
  EXPECT_EQ(parsed.type, TcpFrameType::kWrite);
  EXPECT_EQ(parsed.flags, kTcpFlagMayOvertake);
  EXPECT_EQ(parsed.key, 1u);
  EXPECT_EQ(parsed.offset, 2u);
  EXPECT_EQ(parsed.length, 3u);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(parsed.body), parsed.body_bytes), "header");
}

TEST(TcpFrame, BadFramesAreDescribed) {
  struct Case {
    size_t at;
    char value;
    const char* field;
  };
  for (const Case& bad : {Case{4, 0, "type"}, Case{4, 4, "type"}, Case{5, 2, "flags"}, Case{6, 1, "reserved"},
                          Case{7, 1, "reserved"}, Case{3, 1, "body_bytes"}}) {
    std::string bytes = Frame(TcpFrameType::kMessage, 0, "");
    bytes[bad.at] = bad.value;
    TcpFrame parsed;
    size_t used = 0;
    EXPECT_EQ(ParseTcpFrame(Data(bytes), bytes.size(), &parsed, &used), TcpParse::kBad);
    EXPECT_THAT(std::string(DescribeBadTcpFrame(Data(bytes), bytes.size()).message()), HasSubstr(bad.field));
  }
}

TEST(TcpFrame, GoodbyesComeBackPrintable) {
  std::string bytes(kTcpGoodbyeBytesMax, '\0');
  const absl::Status reason = absl::DataLossError(absl::StrCat("bell \a", std::string(2000, 'x')));
  bytes.resize(EncodeTcpGoodbye(reason, Data(bytes)));
  TcpFrame parsed;
  size_t used = 0;
  ASSERT_EQ(ParseTcpFrame(Data(bytes), bytes.size(), &parsed, &used), TcpParse::kFrame);
  const absl::Status read = ParseTcpGoodbye({parsed.body, parsed.body_bytes});
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(read.message().substr(0, 7), "bell ?x");
  EXPECT_EQ(read.message().size(), kTcpReasonBytesMax);
  // Nonsense is still an error, never OK.
  EXPECT_EQ(ParseTcpGoodbye({}).code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(ParseTcpGoodbye(std::vector<std::byte>(4)).ok());
}

}  // namespace
}  // namespace mcp::internal
