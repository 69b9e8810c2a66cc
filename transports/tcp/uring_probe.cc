// Whether io_uring can be used here: found out by using it, never by the kernel's version.
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "transports/tcp/descriptor.h"
#include "transports/tcp/reactor.h"

namespace mcp::internal {
namespace {

// What the transport needs that came late: a stream (multishot receive, 6.0) into provided buffers (5.19).
absl::Status ProbeStream() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  Descriptor near(pair[0]);
  Descriptor far(pair[1]);
  MCP_ASSIGN_OR_RETURN(const std::unique_ptr<Reactor> reactor, MakeUringReactor(4));
  MCP_ASSIGN_OR_RETURN(const SocketId socket, reactor->Add(near.get()));
  reactor->StartStream(socket);
  if (send(far.get(), "?", 1, MSG_NOSIGNAL) != 1) return ErrnoStatus(errno, "send");
  constexpr int64_t kProbeTimeoutNs = 100'000'000;
  OperationResult results[4];
  for (int round = 0; round < 10; ++round) {
    const size_t count = reactor->Run(absl::MakeSpan(results));
    if (count == 0) {
      reactor->Wait(kProbeTimeoutNs);
      continue;
    }
    if (results[0].result < 0) return ErrnoStatus(-results[0].result, "io_uring multishot receive");
    if (results[0].result == 1) return absl::OkStatus();
  }
  return absl::DeadlineExceededError("io_uring multishot receive: nothing within a second");
}

// What an administrator may have set, for the message.
std::string DisabledSetting() {
  char text[8] = {};
  FILE* file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (file == nullptr) return "";
  const size_t bytes = fread(text, 1, sizeof(text) - 1, file);
  fclose(file);
  while (bytes > 0 && std::strlen(text) > 0 && text[std::strlen(text) - 1] == '\n') text[std::strlen(text) - 1] = 0;
  return absl::StrCat("kernel.io_uring_disabled is ", text);
}

}  // namespace

absl::Status ProbeUring() {
  const absl::Status status = ProbeStream();
  if (status.ok()) return status;
  const std::string setting = DisabledSetting();
  return absl::UnavailableError(absl::StrCat(status.message(), " (",
                                             setting.empty() ? "this kernel has no kernel.io_uring_disabled" : setting,
                                             "; containers may refuse it by seccomp)"));
}

}  // namespace mcp::internal
