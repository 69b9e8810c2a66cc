#include "tools/mcp_perf/pattern.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace mcp::perf {
namespace {

std::vector<std::byte> Filled(const std::string& data, uint64_t bytes, uint64_t seed = 1) {
  std::vector<std::byte> filled(bytes);
  EXPECT_TRUE(FillSource(*ParseData(data), seed, filled.data(), bytes).ok());
  return filled;
}

TEST(Pattern, IsTheSameForTheSameSeed) {
  EXPECT_EQ(Filled("random", 1001), Filled("random", 1001));
  EXPECT_NE(Filled("random", 1001), Filled("random", 1001, 2));
}

TEST(Pattern, HasWhatItsKindSays) {
  for (const std::byte value : Filled("zeros", 100)) EXPECT_EQ(value, std::byte{0});
  const std::vector<std::byte> sparse = Filled("sparse:0.9", 400000);
  int zeros = 0;
  for (size_t word = 0; word < sparse.size(); word += 4) zeros += sparse[word + 3] == std::byte{0};
  EXPECT_NEAR(zeros, 90000, 1000);
  const std::vector<std::byte> weights = Filled("weights", 400000);
  double sum = 0, squares = 0;
  for (size_t offset = 0; offset < weights.size(); offset += 4) {
    float value;
    std::memcpy(&value, &weights[offset], 4);
    sum += value;
    squares += double{value} * value;
  }
  EXPECT_NEAR(sum / 1e5, 0, 0.0005);
  EXPECT_NEAR(std::sqrt(squares / 1e5), 0.02, 0.0005);
}

TEST(Pattern, ReadsAFileAndRepeatsIt) {
  const std::string path = testing::TempDir() + "pattern_test_data";
  std::FILE* file = std::fopen(path.c_str(), "w");
  std::fputs("abc", file);
  std::fclose(file);
  const std::vector<std::byte> data = Filled("file:" + path, 8);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), 8), "abcabcab");
  std::remove(path.c_str());
  std::byte byte;
  EXPECT_EQ(FillSource(*ParseData("file:" + path), 1, &byte, 1).code(), absl::StatusCode::kNotFound);
}

// For every kind of data, and for every byte: a slot that was not written there is found.
TEST(Pattern, FindsEachByteThatDidNotArrive) {
  constexpr uint64_t kBytes = 5000;  // more than one block
  for (const char* kind : {"random", "zeros", "sparse:0.99"}) {
    const std::vector<std::byte> source = Filled(kind, kBytes + 64);
    const std::byte* want = source.data();
    const std::byte* next = source.data() + 64;
    std::vector<std::byte> slot(kBytes);
    for (uint64_t missing = 0; missing < kBytes; missing += missing < 4100 ? 7 : 1) {
      ArmSlot(slot.data(), want, kBytes);
      const std::byte stale = slot[missing];
      std::copy_n(want, kBytes, slot.begin());
      slot[missing] = stale;
      const auto difference = CheckAndArmSlot(slot.data(), want, next, kBytes);
      ASSERT_TRUE(difference.has_value()) << kind << " " << missing;
      EXPECT_EQ(difference->offset, missing);
      EXPECT_EQ(difference->got, stale);
      EXPECT_EQ(difference->want, want[missing]);
    }
  }
}

TEST(Pattern, AcceptsWhatArrivedAndArmsTheSlotForWhatIsNext) {
  constexpr uint64_t kBytes = 10000;
  const std::vector<std::byte> source = Filled("random", kBytes + 64);
  std::vector<std::byte> slot(source.begin(), source.begin() + kBytes);
  EXPECT_FALSE(CheckAndArmSlot(slot.data(), source.data(), source.data() + 64, kBytes).has_value());
  for (uint64_t index = 0; index < kBytes; ++index) ASSERT_NE(slot[index], source[index + 64]);
}

TEST(Pattern, LastBytesTellArrival) {
  for (const uint64_t bytes : {1, 3, 8, 9, 100}) {
    const std::vector<std::byte> source = Filled("zeros", bytes);
    std::vector<std::byte> slot = source;
    const LastBytes last(slot.data(), source.data(), bytes);
    EXPECT_TRUE(last.Arrived());
    ArmLastBytes(slot.data(), source.data(), bytes);
    EXPECT_FALSE(last.Arrived());
    slot.back() = source.back();
    EXPECT_EQ(last.Arrived(), bytes == 1);
    slot = source;
    EXPECT_TRUE(LastBytes(slot.data(), source.data(), bytes).Arrived());
  }
}

TEST(Data, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"", "noise", "sparse:", "sparse:1.5", "sparse:-1", "sparse:nan", "file:"}) {
    EXPECT_FALSE(ParseData(text).ok()) << text;
  }
}

}  // namespace
}  // namespace mcp::perf
