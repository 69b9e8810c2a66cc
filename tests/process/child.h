// This program once more, as another process: `--peer ROLE ARGUMENT...`, with a pipe to hear what it says by lines.
// Killed and reaped when the object goes.
#ifndef MCP_TESTS_PROCESS_CHILD_H_
#define MCP_TESTS_PROCESS_CHILD_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace mcp::internal {

class Child {
 public:
  explicit Child(const std::vector<std::string>& role_and_arguments);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool started() const { return pid_ > 0; }
  // The next line it says, without its end; false at the end of its output, or after the bound.
  bool ReadLine(std::string* line, int64_t bound_ns);
  void Signal(int number) const;
  // Its wait status; -1 when it does not end within the bound.
  int Wait(int64_t bound_ns);

 private:
  pid_t pid_ = -1;
  int pid_fd_ = -1;
  int output_ = -1;
  std::string buffered_;
};

// What main runs for `--peer ROLE ARGUMENT...`; returns the exit status.
int RunPeer(int argc, char** argv);

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_CHILD_H_
