#include "lib/context/sampler.h"

#include <gtest/gtest.h>

namespace mcp::internal {
namespace {

constexpr double kNsPerByte = 1;

TEST(Sampler, AloneATransferIsChargedWithAllItsTime) {
  Sampler sampler;
  const PostMark mark = sampler.Post(1000, 50);
  EXPECT_EQ(sampler.Complete(mark, 1000, kNsPerByte, 1250), 1200);
}

// Latency 200 + bytes: three posted at once complete at 1200, 2200, 3200. Each by itself takes 1200.
TEST(Sampler, QueueingInFrontIsNotATransfersFault) {
  Sampler sampler;
  PostMark marks[3];
  for (PostMark& mark : marks) mark = sampler.Post(1000, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(sampler.Complete(marks[i], 1000, kNsPerByte, 1200 + 1000 * i), 1200);
  EXPECT_EQ(sampler.bytes_in_flight(), 0u);
}

// What was in front completed long before the rate says it would: no more is taken off than was waited.
TEST(Sampler, ABadEstimateOfTheRateTakesOffNoMoreThanTheWait) {
  Sampler sampler;
  const PostMark first = sampler.Post(1000, 0);
  const PostMark second = sampler.Post(1000, 0);
  sampler.Complete(first, 1000, 1000.0, 300);
  EXPECT_EQ(sampler.Complete(second, 1000, 1000.0, 900), 600);
}

TEST(Sampler, IsNeverLessThanANanosecond) {
  Sampler sampler;
  const PostMark mark = sampler.Post(1, 10);
  EXPECT_EQ(sampler.Complete(mark, 1, kNsPerByte, 10), 1);
}

}  // namespace
}  // namespace mcp::internal
