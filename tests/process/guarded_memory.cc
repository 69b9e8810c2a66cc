#include "tests/process/guarded_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "absl/strings/str_cat.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMargin = kPage + 64;  // of canaries, on each side
constexpr std::byte kCanary{0xc5};

}  // namespace

GuardedMemory::GuardedMemory(uint64_t size, std::byte inner) : size_(size) {
  usable_bytes_ = (size + 2 * kMargin + kPage - 1) / kPage * kPage;
  mapping_bytes_ = usable_bytes_ + 2 * kPage;
  void* const mapping = mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  usable_ = mapping_ + kPage;
  if (mprotect(usable_, usable_bytes_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  middle_ = usable_ + kMargin;
  std::fill_n(usable_, usable_bytes_, kCanary);
  std::fill_n(middle_, size, inner);
}

GuardedMemory::~GuardedMemory() { munmap(mapping_, mapping_bytes_); }

std::string GuardedMemory::Touched() const {
  const std::byte* const end = middle_ + size_;
  const std::string before = ValueMismatch({usable_, kMargin}, kCanary);
  if (!before.empty()) return absl::StrCat("before the memory: ", before);
  const std::string after = ValueMismatch({end, static_cast<size_t>(usable_ + usable_bytes_ - end)}, kCanary);
  return after.empty() ? "" : absl::StrCat("behind the memory: ", after);
}

}  // namespace mcp::internal
