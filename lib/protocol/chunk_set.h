// A set of a transfer's chunks, by index. A bitmap, a word for 64 chunks; memory is kept from one transfer to the next.
#ifndef MCP_LIB_PROTOCOL_CHUNK_SET_H_
#define MCP_LIB_PROTOCOL_CHUNK_SET_H_

#include <bit>
#include <cstdint>
#include <vector>

#include "lib/base/assert.h"

namespace mcp::internal {

class ChunkSet {
 public:
  ChunkSet() = default;
  ChunkSet(uint32_t size, bool full) { Reset(size, full); }

  void Reset(uint32_t size, bool full) {
    size_ = size;
    count_ = full ? size : 0;
    words_.assign((size + 63) / 64, full ? ~uint64_t{0} : 0);
    if (full && size % 64 != 0) words_.back() = (uint64_t{1} << size % 64) - 1;
  }

  uint32_t size() const { return size_; }
  uint32_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  bool full() const { return count_ == size_; }
  bool Has(uint32_t chunk) const {
    MCP_ASSERT(chunk < size_);
    return (words_[chunk / 64] >> chunk % 64 & 1) != 0;
  }

  // Whether it changed anything.
  bool Add(uint32_t chunk) {
    if (Has(chunk)) return false;
    words_[chunk / 64] |= uint64_t{1} << chunk % 64;
    ++count_;
    return true;
  }
  bool Remove(uint32_t chunk) {
    if (!Has(chunk)) return false;
    words_[chunk / 64] &= ~(uint64_t{1} << chunk % 64);
    --count_;
    return true;
  }

  // The first that is in the set, from `chunk` on; size() if none is.
  uint32_t Next(uint32_t chunk) const { return Find(chunk, 0); }
  // The first that is not.
  uint32_t NextMissing(uint32_t chunk) const { return Find(chunk, ~uint64_t{0}); }

  // 64 chunks from `chunk` on, bit i for chunk + i.
  uint64_t Window(uint32_t chunk) const {
    uint64_t window = 0;
    for (uint32_t i = 0; i < 64 && chunk + i < size_; ++i) window |= uint64_t{Has(chunk + i)} << i;
    return window;
  }

 private:
  uint32_t Find(uint32_t chunk, uint64_t flip) const {
    while (chunk < size_) {
      const uint64_t rest = (words_[chunk / 64] ^ flip) >> chunk % 64;
      if (rest != 0) {
        const uint32_t found = chunk + static_cast<uint32_t>(std::countr_zero(rest));
        return found < size_ ? found : size_;
      }
      chunk = (chunk / 64 + 1) * 64;
    }
    return size_;
  }

  uint32_t size_ = 0;
  uint32_t count_ = 0;
  std::vector<uint64_t> words_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_PROTOCOL_CHUNK_SET_H_
