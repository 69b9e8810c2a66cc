#include "lib/context/key_table.h"

namespace mcp::internal {

Key* KeyTable::FindPlace() {
  // Ends within two turns: the first takes away every mark.
  while (keys_[hand_].in_use && keys_[hand_].used_lately) {
    keys_[hand_].used_lately = false;
    hand_ = (hand_ + 1) % static_cast<uint32_t>(keys_.size());
  }
  Key* const place = &keys_[hand_];
  hand_ = (hand_ + 1) % static_cast<uint32_t>(keys_.size());
  return place;
}

void KeyTable::Insert(Key* place, uint32_t peer, uint8_t alternative, uint8_t size_class) {
  if (place->in_use) {
    ++evictions_;
  } else {
    ++count_;
  }
  *place = Key();
  place->peer = peer;
  place->alternative = alternative;
  place->size_class = size_class;
  place->in_use = true;
  place->used_lately = true;
}

void KeyTable::Remove(Key* key) {
  *key = Key();
  --count_;
}

}  // namespace mcp::internal
