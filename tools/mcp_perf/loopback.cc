#include "tools/mcp_perf/loopback.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/mcp_perf/client.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/loopback_address.h"
#include "tools/mcp_perf/server.h"

namespace mcp::perf {
namespace {

constexpr int kReadyTimeoutMs = 15000;
// What the child gets to end by itself once the client has left.
constexpr int64_t kEndTimeoutNs = int64_t{5} * 1'000'000'000;
constexpr useconds_t kEndPollUs = 2000;

// Where a client reaches what listens on `bind`.
std::string ClientHost(const std::string& bind) {
  if (bind == "0.0.0.0") return "127.0.0.1";
  return bind == "::" ? "::1" : bind;
}

[[noreturn]] void RunChild(const Options& options, pid_t parent, int ready_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before that.
  if (getppid() != parent) _exit(kExitTestFailed);
  prctl(PR_SET_NAME, "mcp-perf-server");
  // Ctrl-C reaches the whole group: the parent ends its tests in order, and this process with them.
  std::signal(SIGINT, SIG_IGN);
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDOUT_FILENO);
  Options server = options;
  server.mode = Options::Mode::kServer;
  server.once = true;
  server.quiet = true;
  server.bind = LoopbackAddress(options);
  if (!server.port) server.port = 0;
  const std::string host = absl::StrCat(ClientHost(server.bind), " ");
  if (write(ready_fd, host.data(), host.size()) < 0) std::exit(kExitTestFailed);
  std::exit(RunServer(server, ready_fd));
}

// Where a client reaches the child.
struct Ready {
  std::string host;
  uint16_t port = 0;
};

// What the child says once it listens: "HOST PORT\n".
absl::StatusOr<Ready> AwaitReady(int fd) {
  std::string text;
  while (text.empty() || text.back() != '\n') {
    pollfd readable = {fd, POLLIN, 0};
    const int ready = poll(&readable, 1, kReadyTimeoutMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return absl::DeadlineExceededError("the server process did not come up");
    char byte = 0;
    if (read(fd, &byte, 1) != 1) return absl::UnavailableError("the server process ended before it listened");
    text.push_back(byte);
  }
  const std::pair<std::string, std::string> words = absl::StrSplit(text, absl::MaxSplits(' ', 1));
  uint32_t port = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(words.second), &port) || port == 0 || port > 65535) {
    return absl::InternalError(absl::StrCat("the server process said \"", text, "\" for its address"));
  }
  return Ready{words.first, static_cast<uint16_t>(port)};
}

// Waits for the child, by force where it does not end. Returns what to complain of, or nothing.
std::string Reap(pid_t child) {
  const int64_t deadline_ns = NowNs() + kEndTimeoutNs;
  int status = 0;
  bool forced = false;
  for (;;) {
    const pid_t reaped = waitpid(child, &status, forced ? 0 : WNOHANG);
    if (reaped == child) break;
    if (reaped < 0 && errno != EINTR) return "";
    if (NowNs() > deadline_ns && !forced) {
      kill(child, SIGKILL);
      forced = true;
    }
    if (!forced) usleep(kEndPollUs);
  }
  if (forced) return absl::StrCat("the server process did not end in ", kEndTimeoutNs / 1'000'000'000, " s; killed");
  if (WIFSIGNALED(status)) return absl::StrCat("the server process was ended by signal ", WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return absl::StrCat("the server process ended with status ", WEXITSTATUS(status));
  return "";
}

}  // namespace

int RunLoopback(const Options& options) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    std::fprintf(stderr, "mcp-perf: pipe: %s\n", std::strerror(errno));
    return kExitTestFailed;
  }
  std::fflush(nullptr);  // or the child prints it again
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    std::fprintf(stderr, "mcp-perf: fork: %s\n", std::strerror(errno));
    return kExitTestFailed;
  }
  if (child == 0) {
    close(ends[0]);
    RunChild(options, parent, ends[1]);
  }
  close(ends[1]);
  const absl::StatusOr<Ready> ready = AwaitReady(ends[0]);
  close(ends[0]);
  int status = kExitTestFailed;
  if (ready.ok()) {
    status = Client(options, ready->host, ready->port).Run();
  } else {
    std::fprintf(stderr, "mcp-perf: %s\n", std::string(ready.status().message()).c_str());
  }
  // It ends by itself after its client; but there may have been none.
  kill(child, SIGTERM);
  const std::string complaint = Reap(child);
  if (!complaint.empty()) {
    std::fprintf(stderr, "mcp-perf: %s\n", complaint.c_str());
    if (status == kExitOk) status = kExitTestFailed;
  }
  return status;
}

}  // namespace mcp::perf
