// Little-endian integers at unaligned addresses.
#ifndef MCP_LIB_WIRE_BYTES_H_
#define MCP_LIB_WIRE_BYTES_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mcp::internal {

template <std::unsigned_integral T>
constexpr T LittleEndian(T value) {
  if constexpr (std::endian::native == std::endian::little || sizeof(T) == 1) return value;
  T swapped = 0;
  for (size_t i = 0; i < sizeof(T); ++i) swapped = static_cast<T>((swapped << 8) | ((value >> (8 * i)) & 0xff));
  return swapped;
}

template <std::unsigned_integral T>
T LoadLittleEndian(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return LittleEndian(value);
}

template <std::unsigned_integral T>
void StoreLittleEndian(std::byte* to, T value) {
  value = LittleEndian(value);
  std::memcpy(to, &value, sizeof(T));
}

}  // namespace mcp::internal

#endif  // MCP_LIB_WIRE_BYTES_H_
