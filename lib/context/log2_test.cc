#include "lib/context/log2.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lib/context/lanes.h"

namespace mcp::internal {
namespace {

TEST(Log2, IsCloseToLibmOverEighteenOrdersOfMagnitude) {
  for (double value = 1e-6; value < 1e12; value *= 1.00037) {
    ASSERT_NEAR(Log2(value), std::log2(value), 1e-5) << value;
    ASSERT_NEAR(Log2Coarse(static_cast<float>(value)), std::log2(value), 1e-3) << value;
    ASSERT_NEAR(Exp2(std::log2(value)) / value, 1.0, 1e-6) << value;
  }
}

TEST(Log2, IsTheSameInLanes) {
  for (float value = 1; value < 1e12f; value *= 1.0037f) {
    const Float4 values = {value, 1, 3 * value, 7};
    const Float4 logarithms = Log2(values);
    for (int lane = 0; lane < 4; ++lane) {
      ASSERT_NEAR(logarithms[lane], std::log2(values[lane]), 2e-5) << values[lane];
      ASSERT_EQ(Log2Coarse(values)[lane], Log2Coarse(values[lane]));
    }
  }
}

TEST(Log2, IsExactAtPowersOfTwo) {
  for (int exponent = -60; exponent <= 60; ++exponent) {
    EXPECT_EQ(Log2(std::ldexp(1.0, exponent)), exponent);
    EXPECT_EQ(Exp2(exponent), std::ldexp(1.0, exponent));
  }
}

TEST(Log2, NeverFalls) {
  double before = Log2(0.99);
  for (double value = 0.99; value < 4.01; value += 1e-5) {
    ASSERT_GE(Log2(value), before - 1e-9) << value;
    before = Log2(value);
  }
}

}  // namespace
}  // namespace mcp::internal
