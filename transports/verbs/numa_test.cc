#include "transports/verbs/numa.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

class NumaDistanceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "mcp-numa-XXXXXX";
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    // Two sockets; node 2 has memory alone.
    Write("node/node0/cpulist", "0-3,8");
    Write("node/node0/distance", "10 21 30");
    Write("node/node1/cpulist", "4-7");
    Write("node/node1/distance", "21 10 31");
    Write("node/node2/cpulist", "");
    Write("node/node2/distance", "30 31 10");
    Write("node/possible", "0-2");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ + "/" + path).parent_path());
    std::ofstream(folder_ + "/" + path) << text << "\n";
  }
  uint32_t DistanceFrom(std::initializer_list<int> cpus) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus) CPU_SET(cpu, &set);
    return NumaDistance(folder_ + "/device", folder_ + "/node", set);
  }

  std::string folder_;
};

TEST_F(NumaDistanceTest, IsThatOfTheNearestNodeWithOneOfTheCpus) {
  Write("device/numa_node", "1");
  EXPECT_EQ(DistanceFrom({4}), 10u);
  EXPECT_EQ(DistanceFrom({8}), 21u);
  EXPECT_EQ(DistanceFrom({0, 7}), 10u);
  Write("device/numa_node", "2");
  EXPECT_EQ(DistanceFrom({3}), 30u);
  EXPECT_EQ(DistanceFrom({5}), 31u);
}

TEST_F(NumaDistanceTest, IsLocalWhereNothingIsKnown) {
  EXPECT_EQ(DistanceFrom({0}), kNumaDistanceLocal);  // no such file
  for (const char* nonsense : {"-1", "", "one", "7"}) {
    Write("device/numa_node", nonsense);
    EXPECT_EQ(DistanceFrom({0}), kNumaDistanceLocal) << nonsense;
  }
  Write("device/numa_node", "0");
  EXPECT_EQ(DistanceFrom({100}), kNumaDistanceLocal);  // a CPU of no node
  Write("node/node0/distance", "ten");
  EXPECT_EQ(DistanceFrom({0}), kNumaDistanceLocal);
}

TEST_F(NumaDistanceTest, IsThatFromEachNodeOfMemory) {
  Write("device/numa_node", "1");
  const NodeDistances distances = DistancesFromNodes(folder_ + "/device", folder_ + "/node");
  EXPECT_EQ(distances[MemoryNodeOf(0)], 21);
  EXPECT_EQ(distances[MemoryNodeOf(1)], 10);
  EXPECT_EQ(distances[MemoryNodeOf(2)], 31);
  EXPECT_EQ(distances[kNoNode], 0);
  EXPECT_EQ(FormatDistances(distances), "node 0: 21, node 1: 10, node 2: 31");
}

// Nodes are numbered with gaps where firmware has it so, and distances stated without.
TEST_F(NumaDistanceTest, OfNodesWithGapsBetweenThem) {
  std::filesystem::rename(folder_ + "/node/node2", folder_ + "/node/node8");
  Write("node/node200/distance", "40 40 40 10");
  Write("node/node8/distance", "30 31 10 40");
  Write("device/numa_node", "8");
  EXPECT_EQ(FormatDistances(DistancesFromNodes(folder_ + "/device", folder_ + "/node")),
            "node 0: 30, node 1: 31, node 8: 10");
}

TEST_F(NumaDistanceTest, FromNoNodeWhereNothingIsKnown) {
  const NodeDistances unknown{};
  EXPECT_EQ(DistancesFromNodes(folder_ + "/device", folder_ + "/node"), unknown);
  for (const char* nonsense : {"-1", "", "one", "7"}) {
    Write("device/numa_node", nonsense);
    EXPECT_EQ(DistancesFromNodes(folder_ + "/device", folder_ + "/node"), unknown) << nonsense;
  }
  EXPECT_EQ(FormatDistances(unknown), "");
}

}  // namespace
}  // namespace mcp::internal
