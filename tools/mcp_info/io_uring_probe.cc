#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/system_files.h"

namespace mcp::info {
namespace {

std::string Refusal(int error, const std::string& root) {
  const std::string said = absl::StrCat("io_uring_setup: ", std::strerror(error));
  if (error == ENOSYS) return said + " (this kernel has none, or a seccomp filter hides it)";
  if (error == EPERM) {
    const int64_t disabled = ReadNumber(root + "/proc/sys/kernel/io_uring_disabled", 0);
    if (disabled != 0) return absl::StrCat(said, " (kernel.io_uring_disabled is ", disabled, ")");
    return said + " (a seccomp filter refuses it: container runtimes do; allow io_uring_setup, _enter and _register)";
  }
  if (error == ENOMEM) return said + " (the memlock limit counts for rings on kernels before 5.12)";
  return said;
}

}  // namespace

IoUring ProbeIoUring(const std::string& root) {
  io_uring_params parameters = {};
  const long ring = syscall(SYS_io_uring_setup, 4, &parameters);
  if (ring < 0) return {false, Refusal(errno, root)};
  close(static_cast<int>(ring));
  return {true, ""};
}

}  // namespace mcp::info
