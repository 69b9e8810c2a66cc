#include "lib/session/path_choice.h"

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "lib/base/log.h"
#include "lib/session/lane_context.h"
#include "mcp/context.h"

namespace mcp::internal {
namespace {

class PathChoiceTest : public testing::Test {
 protected:
  PathChoiceTest() { choice_.Enter(2, {}); }

  // Sends so many messages, each of which had `retransmits` of its packets sent again.
  void Send(int messages, uint64_t retransmits) {
    for (int i = 0; i < messages; ++i) {
      const TransferChoice choice = choice_.Choose(kBytes, now_ns_);
      now_ns_ += 1'000'000;
      retransmits_ += retransmits;
      choice_.Complete(choice, kBytes, retransmits_, now_ns_);
    }
  }

  static constexpr uint64_t kBytes = 1 << 20;

  std::unique_ptr<Policy> policy_ = *MakePolicy({});
  Logger logger_{LogLevel::kError};
  LaneContext context_{policy_.get(), nullptr, &logger_};
  PathChoice choice_{&context_};
  uint64_t retransmits_ = 0;
  int64_t now_ns_ = 1;
};

TEST_F(PathChoiceTest, OneLossIsAnAccidentTwoAreALossyPath) {
  Send(5, 0);
  EXPECT_FALSE(choice_.loses());
  Send(1, 3);
  EXPECT_FALSE(choice_.loses());
  Send(1, 1);
  EXPECT_TRUE(choice_.loses());
}

TEST_F(PathChoiceTest, APathThatLosesNothingForAWhileIsForgiven) {
  Send(20, 1);
  Send(14, 0);
  EXPECT_TRUE(choice_.loses());
  Send(1, 0);
  EXPECT_FALSE(choice_.loses());
}

}  // namespace
}  // namespace mcp::internal
