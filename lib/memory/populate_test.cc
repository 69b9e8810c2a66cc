#include "lib/memory/populate.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace mcp::internal {
namespace {

constexpr uint64_t kBytes = uint64_t{33} << 20;

class Mapping {
 public:
  explicit Mapping(int protection) : address_(mmap(nullptr, kBytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    EXPECT_NE(address_, MAP_FAILED);
  }
  ~Mapping() { munmap(address_, kBytes); }

  absl::Span<std::byte> bytes() const { return {static_cast<std::byte*>(address_), kBytes}; }
  uint64_t PagesResident() const {
    std::vector<unsigned char> resident(kBytes / 4096);
    EXPECT_EQ(mincore(address_, kBytes, resident.data()), 0);
    return static_cast<uint64_t>(std::count_if(resident.begin(), resident.end(), [](auto flags) { return flags & 1; }));
  }

 private:
  void* const address_;
};

TEST(PopulatePages, BringsEveryPageInByAnyNumberOfThreads) {
  for (const uint64_t threads : {0, 1, 2, 3, 8, 100}) {
    const Mapping mapping(PROT_READ | PROT_WRITE);
    EXPECT_EQ(mapping.PagesResident(), 0u);
    ASSERT_EQ(PopulatePages(mapping.bytes(), threads), 0);
    EXPECT_EQ(mapping.PagesResident(), kBytes / 4096) << threads;
  }
}

TEST(PopulatePages, LeavesContentsAndNeighboursAlone) {
  const Mapping mapping(PROT_READ | PROT_WRITE);
  mapping.bytes()[5000] = std::byte{42};
  ASSERT_EQ(PopulatePages(mapping.bytes().subspan(4097, 10'000), 2), 0);
  EXPECT_EQ(mapping.bytes()[5000], std::byte{42});
  EXPECT_LE(mapping.PagesResident(), uint64_t{2} << 20 >> 12);  // the kernel may have given one huge page
}

TEST(PopulatePages, SaysWhyNot) {
  const Mapping mapping(PROT_READ);
  EXPECT_NE(PopulatePages(mapping.bytes(), 3), 0);
  EXPECT_EQ(PopulatePages({}), 0);
}

}  // namespace
}  // namespace mcp::internal
