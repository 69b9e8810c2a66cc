#include "tests/process/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/units.h"

extern char** environ;

namespace mcp::internal {
namespace {

bool AwaitReadable(int fd, int64_t bound_ns) {
  pollfd poller = {.fd = fd, .events = POLLIN, .revents = 0};
  SystemClock clock;
  const int64_t deadline_ns = clock.NowNs() + bound_ns;
  for (;;) {
    const int64_t left_ns = deadline_ns - clock.NowNs();
    const int ready = left_ns <= 0 ? 0 : poll(&poller, 1, static_cast<int>(left_ns / kNsPerMs) + 1);
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace

Child::Child(const std::vector<std::string>& role_and_arguments) {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return;
  output_ = pipe_ends[0];
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  std::vector<std::string> words = {"peer", "--peer"};
  words.insert(words.end(), role_and_arguments.begin(), role_and_arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  if (posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ) != 0) pid_ = -1;
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  if (pid_ > 0) pid_fd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
}

Child::~Child() {
  if (pid_ > 0) {
    Signal(SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {pid_fd_, output_}) {
    if (fd >= 0) close(fd);
  }
}

bool Child::ReadLine(std::string* line, int64_t bound_ns) {
  for (;;) {
    if (const size_t end = buffered_.find('\n'); end != std::string::npos) {
      *line = buffered_.substr(0, end);
      buffered_.erase(0, end + 1);
      return true;
    }
    if (!AwaitReadable(output_, bound_ns)) return false;
    char bytes[512];
    const ssize_t got = read(output_, bytes, sizeof(bytes));
    if (got <= 0) return false;
    buffered_.append(bytes, static_cast<size_t>(got));
  }
}

void Child::Signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

int Child::Wait(int64_t bound_ns) {
  int status = -1;
  if (pid_ <= 0 || !AwaitReadable(pid_fd_, bound_ns) || waitpid(pid_, &status, 0) != pid_) return -1;
  pid_ = -1;
  return status;
}

}  // namespace mcp::internal
