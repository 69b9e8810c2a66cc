#include "lib/base/errno_status.h"

#include <string.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace mcp::internal {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOTCONN:
      return absl::StatusCode::kUnavailable;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return absl::StatusCode::kInvalidArgument;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOSPC:
    case EDQUOT:
      return absl::StatusCode::kResourceExhausted;
    default:
      return absl::ErrnoToStatusCode(error);
  }
}

}  // namespace

std::string ErrnoText(int error) {
  const char* name = strerrorname_np(error);
  if (name == nullptr) return absl::StrCat("errno ", error);
  return absl::StrCat(name, " (", strerrordesc_np(error), ")");
}

absl::Status ErrnoStatus(int error, absl::string_view what) {
  return absl::Status(CodeOf(error), absl::StrCat(what, ": ", ErrnoText(error)));
}

}  // namespace mcp::internal
