// Counts what a hot path must not do: allocations and locks, of every thread of the process, between two marks.
//
// The program that links interpose.cc calls its malloc family, pthread locks and absl::Mutex instead of the libraries'.
// Under a sanitizer, which has its own, nothing is counted and Counting() says so.
#ifndef MCP_TESTS_HOT_PATH_INTERPOSE_H_
#define MCP_TESTS_HOT_PATH_INTERPOSE_H_

#include <cstdint>
#include <string>

namespace mcp::hot_path {

struct Counts {
  uint64_t allocations = 0;  // and releases
  uint64_t locks = 0;
};

// Why nothing can be counted here; empty when it can.
std::string WhyNoCounting();

void StartCounting();
Counts StopCounting();

// Where the first of what was counted came from, a stack each. To stderr: forgets them.
void PrintOffenders();

}  // namespace mcp::hot_path

#endif  // MCP_TESTS_HOT_PATH_INTERPOSE_H_
