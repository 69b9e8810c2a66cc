// A result file that is either whole or not there: written beside its target and renamed over it. What cannot be
// written so (a device, a pipe) is written directly; "-" is stdout.
//
// Opening it finds an unwritable target and a full disk before the tests run, Write finds them afterwards.
#ifndef MCP_TOOLS_MCP_PERF_OUTPUT_FILE_H_
#define MCP_TOOLS_MCP_PERF_OUTPUT_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mcp::perf {

class OutputFile {
 public:
  // `option` names the target in errors: "--json".
  static absl::StatusOr<std::unique_ptr<OutputFile>> Open(const std::string& option, const std::string& path);
  // Without Write, leaves the target as it was.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Once.
  absl::Status Write(absl::string_view contents);

 private:
  OutputFile(std::string option, std::string path) : option_(std::move(option)), path_(std::move(path)) {}

  absl::Status Error(int error, absl::string_view step) const;
  absl::Status OpenTemporary(unsigned mode);
  absl::Status WriteAll(absl::string_view contents);

  const std::string option_;
  std::string path_;
  std::string temporary_;  // empty: written directly
  int fd_ = -1;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_OUTPUT_FILE_H_
