// Hosts of two nodes with a device each: by which of them work goes whose memory is on one of the nodes.
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/contract/session_fixture.h"
#include "tests/support/fake_verbs.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kBytes = 16 << 20;
constexpr size_t kClient = 0;  // the order in which the fixture makes engines
constexpr size_t kServer = 1;
constexpr int kOperations = 20;
constexpr uint64_t kInMessages = 4096;  // with checksums shorter ones are, which devices do not count

// Both rails on the caller's lane, or one each on lanes that the caller is not on. Unchecked: devices write and read by
// themselves.
std::vector<SessionCase> NearnessCases() {
  std::vector<SessionCase> cases;
  for (const bool checksum : {true, false}) {
    for (const int lanes : {0, 2}) {
      for (const int rails : {2, 4}) cases.push_back({TransportKind::kVerbsFake, lanes, rails, checksum});
    }
  }
  return cases;
}

class VerbsNearness : public SessionContract {
 protected:
  EngineWorld::Setup WorldSetup() override {
    EngineWorld::Setup setup = SessionContract::WorldSetup();
    setup.devices = 2;
    return setup;
  }
  void PrepareWorld() override {
    world().fabric()->SetDistances(0, {10, 21});
    world().fabric()->SetDistances(1, {21, 10});
  }
  SessionOptions Options() override {
    SessionOptions options = SessionContract::Options();
    options.recovery_timeout = std::chrono::seconds(5);  // this is about where work goes, not about how soon
    options.rails_on_first_use = false;
    return options;
  }
  void SetUp() override {
    SessionContract::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_TRUE(Drive([this] { return absl::StrContains(Notes(server()), "node 1"); }));
    for (const int node : {0, 1}) on_node_[node] = &MemoryOn(node);
    mixed_ = &NewMemory(client_engine(), kBytes);
    far_ = &NewMemory(server_engine(), 2 * kBytes);
    remote_ = Export(*far_);
  }

  // Of the client.
  Memory& MemoryOn(int node) {
    auto memory = std::make_unique<Memory>();
    memory->bytes.resize(kBytes);
    world().fabric()->PutOnNode(memory->bytes, node);
    auto region = client_engine()->Register(memory->bytes.data(), kBytes);
    EXPECT_TRUE(region.ok()) << region.status();
    if (region.ok()) memory->region = *std::move(region);
    memories_.push_back(std::move(memory));
    return *memories_.back();
  }

  // Of all rails, in their order.
  static std::string Notes(const Session& session) {
    std::string text;
    for (const RailDescription& rail : session.Describe().rails) {
      absl::StrAppend(&text, absl::StrJoin(rail.notes, "\n"), "\n");
    }
    return text;
  }

  // By each device of that engine since the last call.
  std::vector<uint64_t> Moved(size_t engine) {
    std::vector<uint64_t> moved;
    for (const uint8_t device : {0, 1}) {
      const uint64_t now = world().fabric()->BytesMoved(engine, device);
      moved.push_back(now - std::exchange(moved_[engine][device], now));
    }
    return moved;
  }

  // One at a time, and whether they arrive.
  enum class Kind { kPut, kGet, kSend };
  void DoOneByOne(Kind kind, Memory& memory, uint64_t size) {
    for (uint64_t i = 0; i < kOperations; ++i) {
      Memory& source = kind == Kind::kGet ? *far_ : memory;
      Memory& target = kind == Kind::kGet ? memory : *far_;
      source.Fill(0, size, ++seed_);
      if (kind == Kind::kPut) ops().Put(client(), memory.Part(0, size), remote_, 0);
      if (kind == Kind::kGet) ops().Get(client(), memory.Part(0, size), remote_, 0);
      if (kind == Kind::kSend) ops().Receive(server(), seed_, far_->Part(0, size));
      if (kind == Kind::kSend) ops().Send(client(), seed_, memory.Part(0, size));
      ASSERT_TRUE(FinishAll());
      ASSERT_EQ(target.Mismatch(0, size, seed_), "");
    }
  }
  void PutAtOnce(Memory& memory, uint64_t size, int count) {
    for (int i = 0; i < count; ++i) {
      const uint64_t offset = static_cast<uint64_t>(i) * size;
      ops().Put(client(), memory.Part(offset, size), remote_, offset);
    }
    ASSERT_TRUE(FinishAll());
  }
  void ExpectBy(int device, size_t engine, uint64_t bytes) {
    const std::vector<uint64_t> moved = Moved(engine);
    EXPECT_GE(moved[device], bytes);
    EXPECT_EQ(moved[1 - device], 0u);
  }
  void ExpectByBoth(uint64_t bytes) {
    const std::vector<uint64_t> moved = Moved(kClient);
    EXPECT_EQ(moved[0] + moved[1], bytes);
    EXPECT_GE(moved[0], bytes * 2 / 5);
    EXPECT_GE(moved[1], bytes * 2 / 5);
  }
  bool devices_alone() const { return !GetParam().checksum; }

  Memory* on_node_[2] = {nullptr, nullptr};
  Memory* mixed_ = nullptr;
  Memory* far_ = nullptr;
  RemoteRegion remote_;
  uint64_t seed_ = 0;
  uint64_t moved_[2][2] = {};
};

INSTANTIATE_TEST_SUITE_P(Every, VerbsNearness, testing::ValuesIn(NearnessCases()), SessionCaseName);

TEST_P(VerbsNearness, WhatGoesByOneRailGoesByTheNearOne) {
  for (const uint64_t size : {uint64_t{64}, uint64_t{4096}, uint64_t{64} << 10, uint64_t{400} << 10}) {
    for (const int node : {0, 1}) {
      SCOPED_TRACE(absl::StrCat(size, " bytes, node ", node));
      const uint64_t bytes = kOperations * size;
      if (devices_alone() || size > kInMessages) {
        DoOneByOne(Kind::kPut, *on_node_[node], size);
        ExpectBy(node, kClient, bytes);
        // Answered by the rail that asked.
        DoOneByOne(Kind::kGet, *on_node_[node], size);
        ExpectBy(node, devices_alone() ? kClient : kServer, bytes);
      }
      if (size > kInMessages) {
        DoOneByOne(Kind::kSend, *on_node_[node], size);
        ExpectBy(node, kClient, bytes);
      }
      Moved(kServer);
    }
  }
}

TEST_P(VerbsNearness, MixedMemoryTakesThemInTurn) {
  DoOneByOne(Kind::kPut, *mixed_, 64 << 10);
  ExpectByBoth(kOperations * (64 << 10));
  DoOneByOne(Kind::kSend, *mixed_, 64 << 10);
  ExpectByBoth(kOperations * (64 << 10));
}

// Long ones wait for each other: to be near does not pay for that. Short ones do not.
TEST_P(VerbsNearness, WhereTheNearOneIsBusyTheOtherHelps) {
  constexpr uint64_t kSize = 64 << 10;
  constexpr uint64_t kTotal = kOperations * kSize;
  PutAtOnce(*on_node_[1], kSize, kOperations);
  const std::vector<uint64_t> moved = Moved(kClient);
  EXPECT_EQ(moved[0] + moved[1], kTotal);
  // Where lanes have threads of their own, either may be done with one before the next begins, however often.
  const bool in_turn = GetParam().lanes == 0;
  EXPECT_GE(moved[1], in_turn ? kTotal * 2 / 5 : kSize);
  if (in_turn) {
    EXPECT_GE(moved[0], kTotal * 2 / 5);
  }
  if (!devices_alone()) return;
  PutAtOnce(*on_node_[1], 64, 8);
  ExpectBy(1, kClient, 8 * 64);
}

TEST_P(VerbsNearness, WhatIsSpreadStaysSpread) {
  DoOneByOne(Kind::kPut, *on_node_[1], 4 << 20);
  ExpectByBoth(kOperations * (4 << 20));
  DoOneByOne(Kind::kSend, *on_node_[1], 4 << 20);
  const std::vector<uint64_t> moved = Moved(kClient);  // by bulk or by stream
  EXPECT_GT(moved[0], 0u);
  EXPECT_GT(moved[1], 0u);
}

TEST_P(VerbsNearness, WhereTheNearOneIsLostTheOtherCarriesAll) {
  world().log()->AllowErrors();  // that a device has gone is one
  DoOneByOne(Kind::kPut, *on_node_[1], 64 << 10);
  ExpectBy(1, kClient, kOperations * (64 << 10));
  EXPECT_TRUE(absl::StrContains(Notes(client()), "memory of NUMA node 1")) << Notes(client());
  world().fabric()->LoseDevice(kClient, 1, 1 << 10);
  DoOneByOne(Kind::kPut, *on_node_[1], 64 << 10);
  Moved(kClient);
  DoOneByOne(Kind::kPut, *on_node_[1], 64 << 10);
  ExpectBy(0, kClient, kOperations * (64 << 10));
  // Its rails have found the other device meanwhile: none is nearer than another.
  const auto rails = static_cast<uint64_t>(GetParam().rails);
  ASSERT_TRUE(Drive([&] { return client().Statistics().reconnections >= rails / 2; }));
  ASSERT_TRUE(Drive([&] { return !absl::StrContains(Notes(client()), "preferred"); })) << Notes(client());
  EXPECT_TRUE(client().status().ok()) << client().status();
}

TEST_P(VerbsNearness, EachRailSaysWhatItIsNearTo) {
  const SessionDescription description = client().Describe();
  for (size_t i = 0; i < description.rails.size(); ++i) {
    const std::string notes = absl::StrJoin(description.rails[i].notes, "\n");
    EXPECT_TRUE(absl::StrContains(notes, i % 2 == 0 ? "NUMA distance from memory of node 0: 10, node 1: 21"
                                                    : "NUMA distance from memory of node 0: 21, node 1: 10"))
        << notes;
    EXPECT_TRUE(absl::EndsWith(notes, absl::StrCat("memory of NUMA node ", i % 2))) << notes;
  }
}

// As on most hosts: one node, or devices that are as near to each.
class VerbsWithoutNearness : public VerbsNearness {
 protected:
  void PrepareWorld() override {
    for (const uint8_t device : {0, 1}) world().fabric()->SetDistances(device, {10, 21});
  }
};
INSTANTIATE_TEST_SUITE_P(Every, VerbsWithoutNearness, testing::ValuesIn(NearnessCases()), SessionCaseName);

TEST_P(VerbsWithoutNearness, RailsAreTakenInTurn) {
  DoOneByOne(Kind::kPut, *on_node_[1], 64 << 10);
  ExpectByBoth(kOperations * (64 << 10));
  EXPECT_FALSE(absl::StrContains(Notes(client()), "preferred")) << Notes(client());
}

// Where the kernel refuses to tell (in many containers).
class VerbsWithHiddenNodes : public VerbsNearness {
 protected:
  void PrepareWorld() override {
    VerbsNearness::PrepareWorld();
    world().fabric()->HideNodes();
  }
};
INSTANTIATE_TEST_SUITE_P(Every, VerbsWithHiddenNodes, testing::ValuesIn(NearnessCases()), SessionCaseName);

TEST_P(VerbsWithHiddenNodes, RailsAreTakenInTurn) {
  DoOneByOne(Kind::kPut, *on_node_[1], 64 << 10);
  ExpectByBoth(kOperations * (64 << 10));
}

}  // namespace
}  // namespace mcp::internal
