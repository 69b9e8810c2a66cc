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

  // A place for a new key: free, or that of one which was not used lately and loses it to Insert.
  Key* FindPlace();
  void Insert(Key* place, uint32_t peer, uint8_t alternative, uint8_t size_class);
  void Remove(Key* key);

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
