#include "tools/mcp_perf/control_messages.h"

#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "mcp/engine.h"

namespace mcp::perf {
namespace {

TestSpec Spec(const char* test = "send_bw") {
  TestSpec spec;
  spec.test = *FindTestKind(test);
  spec.layout = ChooseLayout(spec.test, 4096, 16, true);
  spec.lanes = spec.test.latency ? 0 : 2;
  spec.rails = 2;
  return spec;
}

// As it arrives: through bytes.
Json Travelled(const Json& message) { return *DecodeMessage(*EncodeMessage(message)); }

TEST(ControlMessages, SpecTravels) {
  for (const TestKind& kind : kTestKinds) {
    const TestSpec sent = Spec(kind.name);
    const absl::StatusOr<TestSpec> got = DecodeSpec(Travelled(EncodeSpec(sent)));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_STREQ(got->test.name, kind.name);
    EXPECT_EQ(got->layout.slots, sent.layout.slots);
    EXPECT_EQ(got->layout.receives, sent.layout.receives);
    EXPECT_EQ(got->lanes, sent.lanes);
  }
}

TEST(ControlMessages, EverySpecFieldIsChecked) {
  const Json good = EncodeSpec(Spec());
  for (const auto& [field, value] : good.items()) {
    if (field == "type") continue;
    for (const Json& wrong : {Json(nullptr), Json(-1), Json(1.5), Json("x"), Json::array(), Json(uint64_t{1} << 63)}) {
      Json message = good;
      message[field] = wrong;
      const absl::Status status = DecodeSpec(Travelled(message)).status();
      EXPECT_FALSE(status.ok()) << message;
      EXPECT_TRUE(absl::StrContains(status.message(), field)) << status << " for " << message;
    }
    Json message = good;
    message.erase(field);
    const absl::Status status = DecodeSpec(Travelled(message)).status();
    EXPECT_TRUE(absl::StrContains(status.message(), field)) << status << " without " << field;
  }
}

TEST(ControlMessages, ASpecMustFitItsTest) {
  Json message = EncodeSpec(Spec("put_lat"));
  message["lanes"] = 2;
  EXPECT_TRUE(absl::StrContains(DecodeSpec(Travelled(message)).status().message(), "\"lanes\": 2"));
  message = EncodeSpec(Spec("send_bw"));
  message["receives"] = 7;
  EXPECT_TRUE(absl::StrContains(DecodeSpec(Travelled(message)).status().message(), "\"receives\": 7"));
}

TEST(ControlMessages, RefusesWhatIsNotAMessage) {
  for (const char* bytes :
       {"", "{", "[]", "5", "null", "{}", "{\"type\":5}", "{\"type\":\"\"}", "\xff\xfe", "{\"a\":1}x"}) {
    EXPECT_FALSE(DecodeMessage(bytes).ok()) << bytes;
  }
  EXPECT_FALSE(DecodeMessage(std::string(kControlBytesMax + 1, ' ')).ok());
}

TEST(ControlMessages, DeepNestingIsHarmless) {
  const size_t depth = kControlBytesMax / 2 - 32;
  const std::string bytes = "{\"type\":\"prepare\",\"test\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  const absl::StatusOr<Json> message = DecodeMessage(bytes);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_TRUE(absl::StrContains(DecodeSpec(*message).status().message(), "an array is not a text"));
}

TEST(ControlMessages, AnotherVersionIsAClearError) {
  Json hello = EncodeHello(HostInfo{"h", "c", "k", 2});
  EXPECT_EQ(DecodeHello(Travelled(hello))->cpus, 2);
  hello["protocol"] = kControlProtocol + 1;
  hello["version"] = "9.9.9";
  const absl::Status status = DecodeHello(Travelled(hello)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "9.9.9")) << status;
}

TEST(ControlMessages, AnErrorCarriesThePeersWords) {
  const Json error = Travelled(ErrorMessage(absl::ResourceExhaustedError("no memory")));
  const absl::Status status = ExpectType(error, "ready");
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(absl::StrContains(status.message(), "no memory"));
  EXPECT_TRUE(absl::StrContains(ExpectType(error, "error").message(), ""));
  const Json other = {{"type", "begun"}};
  EXPECT_TRUE(absl::StrContains(ExpectType(other, "ready").message(), "\"begun\" where \"ready\""));
}

TEST(ControlMessages, RegionsAreChecked) {
  for (const char* text : {"", "zz", "abc", "00", "ffffffffffffffffffffffffffffffff"}) {
    EXPECT_FALSE(RegionField({{"type", "t"}, {"ring", text}}, "ring").ok()) << text;
  }
  EXPECT_FALSE(RegionField({{"type", "t"}, {"ring", std::string(2048, 'a')}}, "ring").ok());
}

TEST(ControlMessages, CountersAndPathTravel) {
  Json message = {{"type", "ended"}};
  EncodeCounters({1, 2, 3, 4}, message);
  EXPECT_EQ(DecodeCounters(Travelled(message))->checksum_failures, 4u);
  PathInfo path{"tcp", "io_uring", 2, {{"verbs", "tcp", "because"}}};
  const absl::StatusOr<PathInfo> got = DecodePath(Travelled(EncodePath(path)));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->fallbacks.at(0).reason, "because");
}

}  // namespace
}  // namespace mcp::perf
