#include "tools/mcp_perf/layout.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tools/mcp_perf/sizes.h"

namespace mcp::perf {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;

TEST(Layout, EveryChoiceIsOneThatThePeerAccepts) {
  for (const TestKind& test : kTestKinds) {
    for (uint64_t size = 1; size <= 1024 * kMiB; size = size * 3 + 1) {
      for (const uint64_t outstanding : {1, 3, 16, 1000, 8192}) {
        for (const bool verify : {false, true}) {
          const Layout layout = ChooseLayout(test, size, outstanding, verify);
          EXPECT_TRUE(CheckLayout(layout).ok()) << test.name << " " << size << ": " << CheckLayout(layout);
          EXPECT_GE(layout.stride, size);
          EXPECT_LE(layout.outstanding, outstanding);
          // A slot for each operation in flight, or their bytes could not be told apart.
          EXPECT_TRUE(!verify || layout.outstanding <= layout.slots) << size;
          const bool chained = test.operation == Operation::kSend && verify;
          EXPECT_TRUE(!chained || layout.slots % layout.receives == 0) << layout.slots << " " << layout.receives;
        }
      }
    }
  }
}

TEST(Layout, RingIsBounded) {
  const TestKind put = *FindTestKind("put_bw");
  EXPECT_EQ(ChooseLayout(put, 16 * kMiB, 16, true).outstanding, 16u);
  const Layout large = ChooseLayout(put, 256 * kMiB, 16, true);
  EXPECT_EQ(large.slots, 1u);
  EXPECT_EQ(large.outstanding, 1u);
  EXPECT_EQ(ChooseLayout(put, kSizeMax, 16, true).slots, 1u);
}

TEST(Layout, ConsecutiveOperationsAndGenerationsDiffer) {
  const Layout layout = ChooseLayout(*FindTestKind("put_bw"), 64, 16, true);
  for (uint64_t operation = 0; operation < 3 * layout.slots; operation += 1001) {
    EXPECT_NE(layout.SourceOffset(operation), layout.SourceOffset(operation + 1));
    EXPECT_NE(layout.SourceOffset(operation), layout.SourceOffset(operation + layout.slots));
    EXPECT_LE(layout.SourceOffset(operation) + layout.size, layout.source_bytes());
  }
}

TEST(Layout, NamesTheFieldThatIsOutOfBounds) {
  Layout layout = ChooseLayout(*FindTestKind("put_bw"), 64, 16, true);
  layout.slots = kSlotsMax + 1;
  EXPECT_TRUE(absl::StrContains(CheckLayout(layout).message(), "\"slots\": 262145"));
  layout.slots = kSlotsMax;
  layout.stride = uint64_t{1} << 30;
  EXPECT_FALSE(CheckLayout(layout).ok());
  layout.stride = 63;
  EXPECT_TRUE(absl::StrContains(CheckLayout(layout).message(), "\"stride\""));
}

}  // namespace
}  // namespace mcp::perf
