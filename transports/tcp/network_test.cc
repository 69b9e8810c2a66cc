// What the host refuses, and what is said about it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "transports/tcp/tcp_test_support.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {
namespace {

using ::testing::HasSubstr;

TEST(TcpNetworkTest, NamesWhatItCannotDo) {
  Logger logger(LogLevel::kError);
  TcpConfig config;
  config.congestion_control = "nonesuch";
  const auto network = CreateTcpNetwork(config, &logger);
  EXPECT_EQ(network.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(network.status().message()), HasSubstr("nonesuch"));
}

// As a container's seccomp profile does.
bool RefuseIoUring() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {.len = 4, .filter = program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// In a process of its own: 0, or the step that went wrong.
int WithoutIoUring() {
  if (!RefuseIoUring()) return 1;
  Logger logger(LogLevel::kError);
  TcpConfig config;
  config.io = TcpConfig::Io::kIoUring;
  const auto insisted = CreateTcpNetwork(config, &logger);
  if (insisted.status().code() != absl::StatusCode::kUnavailable) return 2;
  TestPair pair((TcpConfig()));
  if (pair.server.network().uses_io_uring()) return 3;
  const std::vector<TcpFallback> fallbacks = pair.server.network().Fallbacks();
  if (fallbacks.empty() || fallbacks[0].wanted != "io_uring" || fallbacks[0].used != "epoll") return 4;
  if (fallbacks[0].reason.find("EPERM") == std::string::npos) return 5;
  if (pair.server.transport().info().device != "epoll") return 6;
  pair.ConnectPair();
  const std::string text = "all the same";
  if (pair.client.transport().Post({TestPair::Message(pair.client_id, text, "")}) != 1) return 7;
  if (!pair.Until([&] { return !pair.server.seen().empty(); })) return 8;
  return pair.server.seen()[0].data == text ? 0 : 9;
}

TEST(TcpNetworkDeathTest, FallsBackToEpollAndSaysWhy) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(std::_Exit(WithoutIoUring()), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace mcp::internal
