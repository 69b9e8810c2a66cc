#include "transports/tcp/block_pool.h"

#include <new>

namespace mcp::internal {

BlockPool::~BlockPool() {
  for (FreeList* list : {&small_, &large_}) {
    while (list->head != nullptr) {
      Block* next = list->head->next;
      Free(list->head);
      list->head = next;
    }
  }
}

Block* BlockPool::Allocate(uint32_t capacity) {
  Block* block = new (::operator new(sizeof(Block) + capacity)) Block();
  block->capacity = capacity;
  return block;
}

void BlockPool::Free(Block* block) { ::operator delete(block); }

}  // namespace mcp::internal
