#include "tools/mcp_perf/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mcp::perf {
namespace {

// Reserved at the start, so that a full disk is found before the tests: more than most documents need.
constexpr off_t kReservedBytes = 64 * 1024;

}  // namespace

absl::Status OutputFile::Error(int error, absl::string_view step) const {
  return absl::ErrnoToStatus(error, absl::StrCat(option_, " ", path_, ": ", step));
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Open(const std::string& option, const std::string& path) {
  std::unique_ptr<OutputFile> file(new OutputFile(option, path));
  if (path == "-") {
    file->fd_ = STDOUT_FILENO;
    return file;
  }
  struct stat target;
  const bool exists = stat(path.c_str(), &target) == 0;
  if (!exists && errno != ENOENT) return file->Error(errno, "stat");
  if (exists && S_ISDIR(target.st_mode)) return file->Error(EISDIR, "open");
  if (exists && !S_ISREG(target.st_mode)) {
    file->fd_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file->fd_ < 0) return file->Error(errno, "open");
    return file;
  }
  if (exists) {
    if (access(path.c_str(), W_OK) != 0) return file->Error(errno, "open");
    // Through a symbolic link, the file it names is replaced, not the link.
    if (char* real = realpath(path.c_str(), nullptr); real != nullptr) {
      file->path_ = real;
      std::free(real);
    }
  }
  const absl::Status opened = file->OpenTemporary(exists ? target.st_mode & 0777U : 0666U);
  if (!opened.ok()) return opened;
  return file;
}

absl::Status OutputFile::OpenTemporary(unsigned mode) {
  temporary_ = absl::StrCat(path_, ".", getpid(), ".tmp");
  fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd_ < 0) {
    const int error = errno;
    temporary_.clear();
    return Error(error, "create");
  }
  const int error = posix_fallocate(fd_, 0, kReservedBytes);
  // Some file systems cannot reserve; they are found full when written.
  if (error != 0 && error != EOPNOTSUPP && error != EINVAL) return Error(error, "reserve 64 KiB");
  return absl::OkStatus();
}

OutputFile::~OutputFile() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status OutputFile::WriteAll(absl::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = write(fd_, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return Error(errno, "write");
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Write(absl::string_view contents) {
  if (absl::Status status = WriteAll(contents); !status.ok()) return status;
  if (fd_ == STDOUT_FILENO) return absl::OkStatus();
  if (!temporary_.empty()) {
    if (ftruncate(fd_, static_cast<off_t>(contents.size())) != 0) return Error(errno, "truncate");
    if (fsync(fd_) != 0) return Error(errno, "fsync");
  }
  const int closed = close(std::exchange(fd_, -1));
  if (closed != 0) return Error(errno, "close");
  if (temporary_.empty()) return absl::OkStatus();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return Error(errno, "rename");
  temporary_.clear();
  return absl::OkStatus();
}

}  // namespace mcp::perf
