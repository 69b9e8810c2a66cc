#include "lib/memory/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/memory/memlock.h"
#include "lib/memory/populate.h"

namespace mcp::internal {
namespace {

constexpr int kHugePageFlags = MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);  // 2^21: kHugePageBytes
constexpr uint64_t kBytesMax = uint64_t{1} << 47;

uint64_t RoundUp(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

std::byte* Map(uint64_t bytes, int flags) {
  void* const address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return address == MAP_FAILED ? nullptr : static_cast<std::byte*>(address);
}

// Brings every page in. 0 or an errno value. Unlike a write, populating says when there is no page left, where a write
// to a huge page is answered by SIGBUS.
int Touch(std::byte* data, uint64_t bytes, uint64_t page_bytes) {
  const int error = PopulatePages({data, bytes});
  if (error != EINVAL) return error;
  for (uint64_t offset = 0; offset < bytes; offset += page_bytes) {
    *const_cast<volatile std::byte*>(data + offset) = std::byte{0};
  }
  return 0;
}

// Plain pages from a boundary of a huge page on, so that the kernel can give huge ones.
std::byte* MapAligned(uint64_t bytes) {
  std::byte* const start = Map(bytes + kHugePageBytes, 0);
  if (start == nullptr) return nullptr;
  const auto address = reinterpret_cast<uint64_t>(start);
  const uint64_t before = RoundUp(address, kHugePageBytes) - address;
  if (before > 0) munmap(start, before);
  if (before < kHugePageBytes) munmap(start + before + bytes, kHugePageBytes - before);
  return start + before;
}

// Null, and the reason in `error`, when the reserved pool has too few.
std::byte* MapHuge(uint64_t bytes, int* error) {
  std::byte* const data = Map(bytes, kHugePageFlags);
  if (data == nullptr) {
    *error = errno;
    return nullptr;
  }
  *error = Touch(data, bytes, kHugePageBytes);
  if (*error == 0) return data;
  munmap(data, bytes);
  return nullptr;
}

bool TransparentHugePagesAreOff() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string text;
  return !std::getline(file, text) || absl::StrContains(text, "[never]");
}

}  // namespace

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
  page_kind_ = other.page_kind_;
  note_ = std::move(other.note_);
  return *this;
}

void HostMemory::Reset() {
  if (data_ != nullptr) munmap(data_, mapped_bytes_);
  data_ = nullptr;
  size_ = 0;
  mapped_bytes_ = 0;
}

absl::StatusOr<HostMemory> AllocateHostMemory(uint64_t size, bool pin) {
  const std::string what = absl::StrCat("allocate ", FormatBytes(size));
  if (size == 0 || size > kBytesMax) return absl::InvalidArgumentError(absl::StrCat(what, ": not a size of memory"));
  HostMemory memory;
  memory.size_ = size;
  const bool large = size >= kHugePageBytes;
  int error = 0;
  if (large) {
    memory.mapped_bytes_ = RoundUp(size, kHugePageBytes);
    memory.data_ = MapHuge(memory.mapped_bytes_, &error);
    memory.page_kind_ = PageKind::kHuge;
    if (memory.data_ != nullptr) return memory;  // never swapped: needs no lock
  }
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  memory.mapped_bytes_ = RoundUp(size, page_bytes);
  if (pin) MCP_RETURN_IF_ERROR(CheckMemlock(ReadMemlockState(), memory.mapped_bytes_, what));
  memory.data_ = large ? MapAligned(memory.mapped_bytes_) : Map(memory.mapped_bytes_, 0);
  if (memory.data_ == nullptr) return ErrnoStatus(errno, what);
  memory.page_kind_ = PageKind::kPlain;
  if (large) {
    const bool advised =
        madvise(memory.data_, memory.mapped_bytes_, MADV_HUGEPAGE) == 0 && !TransparentHugePagesAreOff();
    memory.page_kind_ = advised ? PageKind::kTransparent : PageKind::kPlain;
    memory.note_ = absl::StrCat(
        "no reserved 2 MiB pages (", ErrnoText(error), "; vm.nr_hugepages reserves them): using ",
        advised ? "plain pages, transparent huge pages advised" : "plain pages, transparent huge pages are off");
  }
  if (const int failed = Touch(memory.data_, memory.mapped_bytes_, page_bytes); failed != 0) {
    return ErrnoStatus(failed, what);
  }
  if (pin) MCP_RETURN_IF_ERROR(LockMemory(memory.data_, memory.mapped_bytes_, what));
  return memory;
}

}  // namespace mcp::internal
