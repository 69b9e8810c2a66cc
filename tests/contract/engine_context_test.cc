// How an engine is told to decide, and what it does with what is wrong.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/context/profile.h"
#include "mcp/engine.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSize = 1 << 20;

EngineOptions Loopback() {
  EngineOptions options;
  options.lanes = 0;
  options.transports = {"loopback"};
  return options;
}

// A file that goes with the test.
class TextFile {
 public:
  TextFile(const std::string& name, const std::string& text)
      : path_(absl::StrCat(testing::TempDir(), "/", name, "_", getpid())) {
    std::ofstream(path_) << text;
  }
  ~TextFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// Two engines of one world, the first deciding as `context` says.
struct Pair {
  explicit Pair(const PolicyOptions& context, const std::string& profile = "") : world(SetupOf(context, profile)) {
    operations.set_world(&world);
    client = world.MakeEngine(0);
    server = world.MakeEngine(0);
    EXPECT_TRUE(world.Connect(client, server, {}, &ends)) << ends.status;
    source = *client->Allocate(kSize);
    target = *server->Allocate(kSize);
  }
  ~Pair() { ends = EngineWorld::Ends(); }
  static EngineWorld::Setup SetupOf(const PolicyOptions& context, const std::string& profile) {
    EngineWorld::Setup setup;
    setup.context = context;
    setup.profile = profile;
    return setup;
  }
  void SendOne() {
    const auto received = operations.Receive(ends.server, 1, target.All());
    const auto sent = operations.Send(ends.client, 1, source.All());
    ASSERT_TRUE(world.Drive([&] { return operations.open() == 0; }));
    EXPECT_TRUE(operations.status(sent).ok() && operations.status(received).ok());
  }

  Operations operations;
  EngineWorld world;
  Engine* client = nullptr;
  Engine* server = nullptr;
  EngineWorld::Ends ends;
  Region source, target;
};

TEST(EngineContext, AnUnknownPolicyIsAnErrorThatNamesIt) {
  EngineOptions options = Loopback();
  options.context.policy = "astrology";
  const auto engine = Engine::Create(options);
  ASSERT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(engine.status().message(), HasSubstr("EngineOptions::context"));
  EXPECT_THAT(engine.status().message(), HasSubstr("astrology"));
}

TEST(EngineContext, ABadProfileIsAnErrorOrAFallback) {
  const TextFile other_version("other_version", R"({"schema": "mcp-profile/0", "points": []})");
  const TextFile nonsense("nonsense", "{");
  for (const std::string& path :
       {std::string("/nowhere/at/all"), std::string("/"), other_version.path(), nonsense.path()}) {
    SCOPED_TRACE(path);
    EngineOptions options = Loopback();
    options.profile = path;
    const absl::Status refused = Engine::Create(options).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
    EXPECT_THAT(refused.message(), HasSubstr(path));
    options.profile_required = false;
    const auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    ASSERT_EQ((*engine)->Fallbacks().size(), 1u);
    EXPECT_EQ((*engine)->Fallbacks()[0].wanted, path);
    EXPECT_EQ((*engine)->Fallbacks()[0].used, "no profile");
  }
}

TEST(EngineContext, ThePhaseDecidesByTheRules) {
  PolicyOptions rules;
  rules.policy = "rules";
  Pair pair(rules);
  pair.SendOne();
  EXPECT_EQ(pair.ends.client.Statistics().bulk_transfers, 1u);
  TrainingContext training;
  training.phase = Phase::kInference;
  pair.client->SetTraining(training);
  pair.SendOne();
  EXPECT_EQ(pair.ends.client.Statistics().bulk_transfers, 1u);
  EXPECT_EQ(pair.ends.client.Statistics().stream_transfers, 1u);
  EXPECT_EQ(pair.ends.client.Statistics().protocol_switches, 1u);
  const auto decisions = pair.client->Decisions();
  ASSERT_TRUE(decisions.ok()) << decisions.status();
  ASSERT_FALSE(decisions->empty());
  EXPECT_TRUE(absl::StrContains(decisions->back(), "bulk") && absl::StrContains(decisions->back(), "stream"))
      << decisions->back();
}

// The first message already goes as the profile says, whichever of the two that favours.
TEST(EngineContext, AProfileDecidesTheFirstMessage) {
  for (const bool stream : {false, true}) {
    SCOPED_TRACE(stream);
    const auto figures = [](const char* protocol, int base_ns) {
      return absl::StrCat(R"({"protocol": ")", protocol, R"(", "rails": 1, "codec": 0, "base_ns": )", base_ns,
                          R"(, "ns_per_byte": 0.1, "samples": 16})");
    };
    const TextFile profile(
        "profile", absl::StrCat(R"({"schema": "mcp-profile/1", "points": [{"path": {"bytes_per_ns": 1, "latency_ns": )",
                                R"(1000, "loss": 0}, "alternatives": [)", figures("bulk", stream ? 100'000'000 : 1000),
                                ", ", figures("stream", stream ? 1000 : 100'000'000), "]}]}"));
    Pair pair(PolicyOptions{}, profile.path());
    pair.SendOne();
    EXPECT_EQ(pair.ends.client.Statistics().stream_transfers, stream ? 1u : 0u);
    EXPECT_EQ(pair.ends.client.Statistics().bulk_transfers, stream ? 0u : 1u);
  }
}

// Messages that could go whole, sent together.
TEST(EngineContext, AFixedProtocolIsThatOfMiddlingMessages) {
  constexpr int kMessages = 20;
  constexpr uint64_t kMiddling = 40'000;
  for (const Protocol protocol : {Protocol::kEager, Protocol::kBulk, Protocol::kStream}) {
    SCOPED_TRACE(ProtocolName(protocol));
    PolicyOptions fixed;
    fixed.policy = "fixed";
    fixed.fixed.protocol = protocol;
    Pair pair(fixed);
    for (int i = 0; i < kMessages; ++i) {
      pair.operations.Receive(pair.ends.server, 1, pair.target.Part(0, kMiddling));
      pair.operations.Send(pair.ends.client, 1, pair.source.Part(0, kMiddling));
    }
    ASSERT_TRUE(pair.world.Drive([&] { return pair.operations.open() == 0; }));
    EXPECT_EQ(pair.ends.client.Statistics().eager_transfers, protocol == Protocol::kEager ? kMessages : 0u);
    pair.SendOne();
    EXPECT_EQ(pair.ends.client.Statistics().stream_transfers, protocol == Protocol::kStream ? 1u : 0u);
  }
}

TEST(EngineContext, TheModelTriesBothAndTellsWhy) {
  Pair pair(PolicyOptions{});
  for (int i = 0; i < 300; ++i) pair.SendOne();
  const SessionStatistics statistics = pair.ends.client.Statistics();
  EXPECT_EQ(statistics.bulk_transfers + statistics.stream_transfers, 300u);
  EXPECT_GT(statistics.bulk_transfers, 0u);
  EXPECT_GT(statistics.stream_transfers, 0u);
  EXPECT_GT(statistics.protocol_probes, 0u);
  EXPECT_THAT(*pair.client->Decisions(), testing::SizeIs(testing::Gt(10u)));
  EXPECT_TRUE(pair.server->Decisions()->empty()) << "it sent nothing";
}

}  // namespace
}  // namespace mcp::internal
