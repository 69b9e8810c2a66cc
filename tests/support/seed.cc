#include "tests/support/seed.h"

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mcp::internal {

uint64_t TestSeed(uint64_t otherwise) {
  const char* text = std::getenv("MCP_TEST_SEED");
  uint64_t seed = otherwise;
  if (text != nullptr && !absl::SimpleAtoi(text, &seed)) return otherwise;
  return seed;
}

std::string SeedNote(uint64_t seed) { return absl::StrCat("seed ", seed, " (MCP_TEST_SEED=", seed, " repeats it)"); }

}  // namespace mcp::internal
