// Sends that have been announced and wait for the peer's grant, by the name under which they were announced.
// Names carry a generation, so that a late answer to a name that serves again is told apart. Home lane only.
#ifndef MCP_LIB_SESSION_GRANT_TABLE_H_
#define MCP_LIB_SESSION_GRANT_TABLE_H_

#include <cstdint>
#include <vector>

#include "lib/session/operation.h"

namespace mcp::internal {

class GrantTable {
 public:
  // Never 0.
  uint64_t Add(Operation* operation) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(slots_.size()));
      slots_.emplace_back();
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    slots_[index].operation = operation;
    return Name(index);
  }

  // Null if there is none of that name.
  Operation* Take(uint64_t name) {
    const uint32_t index = static_cast<uint32_t>(name);
    if (index >= slots_.size() || slots_[index].operation == nullptr || Name(index) != name) return nullptr;
    Operation* operation = slots_[index].operation;
    slots_[index].operation = nullptr;
    ++slots_[index].generation;
    free_.push_back(index);
    return operation;
  }

  // Whether the name was ever given out.
  bool Known(uint64_t name) const {
    const uint32_t index = static_cast<uint32_t>(name);
    return index < slots_.size() && name >> 32 != 0 && name >> 32 <= slots_[index].generation;
  }

  // The name of one that satisfies the predicate, or 0. Linear.
  template <class Predicate>
  uint64_t Find(Predicate predicate) const {
    for (uint32_t index = 0; index < slots_.size(); ++index) {
      if (slots_[index].operation != nullptr && predicate(*slots_[index].operation)) return Name(index);
    }
    return 0;
  }

 private:
  struct Slot {
    Operation* operation = nullptr;
    uint32_t generation = 1;
  };

  uint64_t Name(uint32_t index) const { return uint64_t{slots_[index].generation} << 32 | index; }

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_GRANT_TABLE_H_
