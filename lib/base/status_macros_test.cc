#include "lib/base/status_macros.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "lib/base/errno_status.h"

namespace mcp::internal {
namespace {

absl::Status Fail(bool fail) { return fail ? absl::AbortedError("asked to") : absl::OkStatus(); }

absl::StatusOr<std::unique_ptr<int>> Make(bool fail) {
  MCP_RETURN_IF_ERROR(Fail(fail));
  return std::make_unique<int>(3);
}

absl::StatusOr<std::pair<int, int>> MakePair(bool fail) {
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<int> value, Make(fail));
  int other = 0;
  MCP_ASSIGN_OR_RETURN(other, absl::StatusOr<int>(4));
  return std::pair<int, int>(*value, other);
}

TEST(StatusMacros, PassValuesOn) {
  const auto pair = MakePair(false);
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(*pair, (std::pair<int, int>(3, 4)));
}

TEST(StatusMacros, PassErrorsOn) { EXPECT_EQ(MakePair(true).status(), absl::AbortedError("asked to")); }

TEST(ErrnoStatus, NamesTheError) {
  EXPECT_EQ(ErrnoStatus(ENOMEM, "tcp 127.0.0.1:1: allocate 4 KiB"),
            absl::ResourceExhaustedError("tcp 127.0.0.1:1: allocate 4 KiB: ENOMEM (Cannot allocate memory)"));
  EXPECT_EQ(ErrnoStatus(ECONNREFUSED, "connect").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoStatus(EACCES, "open").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrnoText(99999), "errno 99999");
}

}  // namespace
}  // namespace mcp::internal
