#include "lib/base/assert.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

TEST(AssertTest, HoldsQuietly) { MCP_ASSERT(1 + 1 == 2); }

#ifdef NDEBUG
TEST(AssertTest, ReleaseDoesNotEvaluate) {
  int evaluated = 0;
  MCP_ASSERT(++evaluated != 0);
  EXPECT_EQ(evaluated, 0);
}
#else
TEST(AssertDeathTest, DebugNamesTheCondition) { EXPECT_DEATH(MCP_ASSERT(1 == 2), "assert_test.cc:.*1 == 2"); }
#endif

}  // namespace
}  // namespace mcp::internal
