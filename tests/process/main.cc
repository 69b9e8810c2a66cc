// gtest's main, and with --peer another process of a test (child.h).
#include <cstring>

#include "gtest/gtest.h"
#include "tests/process/child.h"

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "--peer") == 0) return mcp::internal::RunPeer(argc - 2, argv + 2);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
