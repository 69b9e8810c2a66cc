// The bounded store of what is known per key: (peer, alternative, size class).
//
// A full table gives the place of a key that was not used lately (second chance: a hand goes round and takes the first
// key that was not used since it last came by). The key that lost its place starts over when it is used again, from the
// alternative's fit, which is not evicted.
//
// All memory is allocated at the start. For one thread.
#ifndef MCP_LIB_CONTEXT_KEY_TABLE_H_
#define MCP_LIB_CONTEXT_KEY_TABLE_H_

#include <cstdint>
#include <vector>

#include "lib/context/estimator.h"

namespace mcp::internal {

struct Key {
  uint32_t peer = 0;
  uint8_t alternative = 0;
  uint8_t size_class = 0;
  bool in_use = false;
  bool used_lately = false;
  KeyState state;
};
static_assert(sizeof(Key) <= 512);

class KeyTable {
 public:
  explicit KeyTable(uint32_t keys_max) : keys_(keys_max) {}

  Key& At(uint32_t index) { return keys_[index]; }
  const Key& At(uint32_t index) const { return keys_[index]; }

  // A fresh key. If its place was another's, that one is copied to `*evicted` first, else `evicted->in_use` is false.
  uint32_t Insert(uint32_t peer, uint8_t alternative, uint8_t size_class, Key* evicted);
  void Remove(uint32_t index);

  uint32_t count() const { return count_; }
  uint64_t evictions() const { return evictions_; }

 private:
  std::vector<Key> keys_;
  uint32_t hand_ = 0;
  uint32_t count_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_CONTEXT_KEY_TABLE_H_
