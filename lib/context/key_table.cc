#include "lib/context/key_table.h"

namespace mcp::internal {

uint32_t KeyTable::Insert(uint32_t peer, uint8_t alternative, uint8_t size_class, Key* evicted) {
  // Ends within two turns: the first takes away every mark.
  while (keys_[hand_].in_use && keys_[hand_].used_lately) {
    keys_[hand_].used_lately = false;
    hand_ = (hand_ + 1) % static_cast<uint32_t>(keys_.size());
  }
  const uint32_t index = hand_;
  hand_ = (hand_ + 1) % static_cast<uint32_t>(keys_.size());
  Key& key = keys_[index];
  *evicted = key;
  if (key.in_use) {
    ++evictions_;
  } else {
    ++count_;
  }
  key = Key();
  key.peer = peer;
  key.alternative = alternative;
  key.size_class = size_class;
  key.in_use = true;
  key.used_lately = true;
  return index;
}

void KeyTable::Remove(uint32_t index) {
  keys_[index] = Key();
  --count_;
}

}  // namespace mcp::internal
