#include "lib/base/random.h"

#include <sys/random.h>

#include <random>

#include "lib/base/assert.h"

namespace mcp::internal {
namespace {

uint64_t SplitMix64(uint64_t* state) {
  uint64_t value = (*state += 0x9e3779b97f4a7c15);
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) word = SplitMix64(&seed);
}

Random Random::FromEntropy() {
  Random random(0);
  // 32 bytes are never cut short once the kernel's pool is ready.
  if (getrandom(random.state_, sizeof(random.state_), 0) != static_cast<ssize_t>(sizeof(random.state_))) {
    std::random_device device;  // getrandom refused by a seccomp filter: RDRAND or /dev/urandom
    for (uint64_t& word : random.state_) word = (uint64_t{device()} << 32) | device();
  }
  // The all-zero state would stay zero for ever.
  if ((random.state_[0] | random.state_[1] | random.state_[2] | random.state_[3]) == 0) return Random(0);
  return random;
}

uint64_t Random::Below(uint64_t bound) {
  MCP_ASSERT(bound != 0);
  // Multiply-shift with rejection (Lemire, 2019): a division only when the first draw falls in the biased part.
  __extension__ using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(Next()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = -bound % bound;
    while (static_cast<uint64_t>(product) < threshold) product = static_cast<Wide>(Next()) * bound;
  }
  return static_cast<uint64_t>(product >> 64);
}

}  // namespace mcp::internal
