// Where a test's randomness comes from. A failure names the seed; MCP_TEST_SEED=N runs the test with it again.
#ifndef MCP_TESTS_SUPPORT_SEED_H_
#define MCP_TESTS_SUPPORT_SEED_H_

#include <cstdint>
#include <string>

namespace mcp::internal {

// MCP_TEST_SEED if it is set, else `otherwise`: tests are the same on every run unless asked.
uint64_t TestSeed(uint64_t otherwise);

// "seed 7 (MCP_TEST_SEED=7 repeats it)", for SCOPED_TRACE.
std::string SeedNote(uint64_t seed);

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_SEED_H_
