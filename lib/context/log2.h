// log2 and its inverse, from additions and multiplications alone: the same bits on every machine, unlike libm's.
//
// The polynomials interpolate at Chebyshev nodes. Errors: 8e-6 in log2, relative 5e-7 in its inverse.
#ifndef MCP_LIB_CONTEXT_LOG2_H_
#define MCP_LIB_CONTEXT_LOG2_H_

#include <bit>
#include <cstdint>

namespace mcp::internal {

// `value` is positive and normal.
inline double Log2(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const auto exponent = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  const double t = std::bit_cast<double>((bits & ((uint64_t{1} << 52) - 1)) | (uint64_t{1023} << 52)) - 1.0;
  const double square = t * t;
  // In pairs (Estrin): half as deep as Horner.
  const double low = 1.4426814680651516 + t * -0.720358772675779;
  const double middle = 0.46865887914367105 + t * -0.30163800973500726;
  const double high = 0.14447109569877475 + t * -0.03382204596895592;
  return exponent + t * (low + square * (middle + square * high));
}

// The same within 9e-4, in a few instructions: for what is compared with its own spread.
inline float Log2Coarse(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto exponent = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127);
  const float t = std::bit_cast<float>((bits & 0x7fffffu) | 0x3f800000u) - 1.0f;
  return exponent + t * ((1.4229f - t * 0.58208f) + t * t * 0.15918f);
}

// `exponent` lies within (-1000, 1000).
inline double Exp2(double exponent) {
  auto whole = static_cast<int64_t>(exponent);
  if (static_cast<double>(whole) > exponent) --whole;
  const double t = exponent - static_cast<double>(whole);
  const double square = t * t;
  const double low = 0.6931475675579636 + t * 0.24020719419078534;
  const double high = 0.05565705438618287 + t * (0.00919938759954215 + t * 0.0017883687415289483);
  return (1.0 + t * (low + square * high)) * std::bit_cast<double>(static_cast<uint64_t>(whole + 1023) << 52);
}

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_LOG2_H_
