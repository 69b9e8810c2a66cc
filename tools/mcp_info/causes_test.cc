#include "tools/mcp_info/causes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mcp::info {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Causes, ALinkLocalAddressNeedsItsInterface) {
  EXPECT_THAT(RouteCause("fe80::1"), HasSubstr("fe80::1%eth0"));
  EXPECT_THAT(RouteCause("fe80::1%eth2"), HasSubstr("ip route"));
  EXPECT_THAT(RouteCause("10.0.0.1"), HasSubstr("ip route"));
}

TEST(Causes, OfTheControlSession) {
  EXPECT_THAT(TcpCause(absl::StatusCode::kFailedPrecondition), HasSubstr("nothing listens"));
  EXPECT_THAT(TcpCause(absl::StatusCode::kDeadlineExceeded), HasSubstr("drops"));
  EXPECT_THAT(TcpCause(absl::StatusCode::kUnavailable), HasSubstr("ping"));
  EXPECT_THAT(HandshakeCause(absl::StatusCode::kDeadlineExceeded), HasSubstr("hangs"));
  EXPECT_THAT(HandshakeCause(absl::StatusCode::kUnavailable), HasSubstr("versions of mcp differ"));
  EXPECT_THAT(GreetingCause(absl::StatusCode::kFailedPrecondition), HasSubstr("versions of mcp-perf differ"));
  EXPECT_THAT(GreetingCause(absl::StatusCode::kUnavailable), HasSubstr("clients wait"));
}

std::string Of(TransferStage stage, const absl::Status& status, const std::string& transport) {
  return TransferCause({stage, status, transport});
}

TEST(Causes, OfATransferAreThoseOfItsStage) {
  const absl::Status away = absl::UnavailableError("");
  EXPECT_THAT(Of(TransferStage::kTurn, absl::DeadlineExceededError(""), "auto"), HasSubstr("somebody else"));
  EXPECT_THAT(Of(TransferStage::kTurn, away, "auto"), HasSubstr("server ended"));
  EXPECT_THAT(Of(TransferStage::kPrepare, absl::AbortedError(""), "auto"), HasSubstr("mcp-info there"));
  EXPECT_THAT(Of(TransferStage::kPrepare, absl::ResourceExhaustedError(""), "verbs"), HasSubstr("locked"));
  EXPECT_THAT(Of(TransferStage::kPrepare, away, "verbs"), HasSubstr("this host"));
  EXPECT_THAT(Of(TransferStage::kConnect, away, "verbs"), HasSubstr("4791"));
  EXPECT_THAT(Of(TransferStage::kConnect, away, "tcp"), HasSubstr("port of its own"));
  EXPECT_THAT(Of(TransferStage::kMove, away, "verbs"), HasSubstr("MTU"));
  EXPECT_THAT(Of(TransferStage::kMove, away, "tcp"), Not(HasSubstr("RoCE")));
  EXPECT_THAT(Of(TransferStage::kMove, absl::DataLossError(""), "tcp"), HasSubstr("changes bytes"));
  EXPECT_THAT(Of(TransferStage::kMove, absl::AbortedError(""), "tcp"), HasSubstr("its words"));
}

}  // namespace
}  // namespace mcp::info
