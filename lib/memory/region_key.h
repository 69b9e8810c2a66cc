// What a region key is: the slot that holds the region, in the clear, and the slot's use count, enciphered.
//
//   bits 0..19   slot
//   bits 20..63  use (from 1), through a keyed permutation of 44 bits
//
// So a live key is guessed with probability 2^-44, and a key can be told apart for ever as one that its slot had
// before: its use deciphers to one that is over. Garbage does so with probability (uses of the slot) x 2^-44.
//
// The permutation is a Feistel network of multiply-xorshift rounds, secret to the table. It keeps keys from being
// guessed; it is no cipher for data.
#ifndef MCP_LIB_MEMORY_REGION_KEY_H_
#define MCP_LIB_MEMORY_REGION_KEY_H_

#include <cstdint>

#include "lib/base/random.h"

namespace mcp::internal {

inline constexpr int kRegionSlotBits = 20;
inline constexpr uint32_t kRegionSlotsMax = uint32_t{1} << kRegionSlotBits;
inline constexpr uint64_t kRegionUseMax = (uint64_t{1} << (64 - kRegionSlotBits)) - 1;

inline uint32_t RegionKeySlot(uint64_t key) { return static_cast<uint32_t>(key) & (kRegionSlotsMax - 1); }

class RegionKeyCipher {
 public:
  explicit RegionKeyCipher(Random random) {
    for (Round& round : rounds_) round = {random.Next(), random.Next() | 1};
  }

  uint64_t Key(uint32_t slot, uint64_t use) const {
    uint64_t left = use >> kHalfBits;
    uint64_t right = use & kHalfMask;
    for (int i = 0; i < kRounds; ++i) {
      const uint64_t next = left ^ Mix(rounds_[i], slot, right);
      left = right;
      right = next;
    }
    return (left << kHalfBits | right) << kRegionSlotBits | slot;
  }

  uint64_t Use(uint64_t key) const {
    const uint32_t slot = RegionKeySlot(key);
    uint64_t left = key >> (kRegionSlotBits + kHalfBits);
    uint64_t right = (key >> kRegionSlotBits) & kHalfMask;
    for (int i = kRounds - 1; i >= 0; --i) {
      const uint64_t previous = right ^ Mix(rounds_[i], slot, left);
      right = left;
      left = previous;
    }
    return left << kHalfBits | right;
  }

 private:
  static constexpr int kRounds = 8;
  static constexpr int kHalfBits = (64 - kRegionSlotBits) / 2;
  static constexpr uint64_t kHalfMask = (uint64_t{1} << kHalfBits) - 1;
  struct Round {
    uint64_t offset;
    uint64_t factor;  // odd
  };

  static uint64_t Mix(const Round& round, uint32_t slot, uint64_t half) {
    uint64_t value = ((uint64_t{slot} << kHalfBits | half) ^ round.offset) * round.factor;
    value = (value ^ (value >> 32)) * 0x9e3779b97f4a7c15;
    return value >> (64 - kHalfBits);
  }

  Round rounds_[kRounds];
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REGION_KEY_H_
