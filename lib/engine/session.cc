// include/mcp/session.h: checks what the caller passes, and hands it on.
#include "mcp/session.h"

#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/memory/region_impl.h"
#include "lib/session/session_impl.h"

namespace mcp {
namespace {

using internal::RegionImpl;
using internal::SessionImpl;

bool SliceHolds(const Slice& slice) {
  return ABSL_PREDICT_TRUE(slice.region != nullptr && slice.region->Contains(slice.offset, slice.length));
}

ABSL_ATTRIBUTE_NOINLINE absl::Status SliceError(const Slice& slice) {
  if (slice.region == nullptr) return absl::InvalidArgumentError("the slice is of no region");
  return absl::InvalidArgumentError(absl::StrCat("the slice [", slice.offset, ", +", slice.length,
                                                 ") leaves its region of ", slice.region->size(), " bytes"));
}

bool RemoteHolds(const RemoteRegion& remote, uint64_t offset, uint64_t length, RemoteAccess access) {
  const auto wanted = static_cast<uint32_t>(access);
  return ABSL_PREDICT_TRUE(offset <= remote.length() && length <= remote.length() - offset &&
                           (static_cast<uint32_t>(remote.access()) & wanted) == wanted);
}

ABSL_ATTRIBUTE_NOINLINE absl::Status RemoteError(const RemoteRegion& remote, uint64_t offset, uint64_t length,
                                                 RemoteAccess access) {
  if (offset > remote.length() || length > remote.length() - offset) {
    return absl::InvalidArgumentError(absl::StrCat("the remote range [", offset, ", +", length,
                                                   ") leaves the remote region of ", remote.length(), " bytes"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the remote region was not exported for ", access == RemoteAccess::kRead ? "reading" : "writing"));
}

// Field by field: a structure that is copied just after it was written waits for the writes.
void SetLocal(const Slice& slice, SessionImpl::Work* work) {
  work->local.region = slice.region;
  work->local.data = slice.region->base() + slice.offset;
  work->local.length = slice.length;
}

}  // namespace

Session::Session() = default;
Session::Session(std::shared_ptr<internal::SessionImpl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;

Session& Session::operator=(Session&& other) noexcept {
  Session old(std::exchange(impl_, std::move(other.impl_)));
  return *this;
}

Session::~Session() {
  if (impl_ != nullptr) impl_->Fail(absl::CancelledError("the session's handle was destroyed"));
}

absl::StatusOr<OperationId> Session::Put(const Slice& local, const RemoteRegion& remote, uint64_t remote_offset,
                                         Completion completion, const OperationOptions& options) {
  if (!SliceHolds(local)) return SliceError(local);
  if (!RemoteHolds(remote, remote_offset, local.length, RemoteAccess::kWrite)) {
    return RemoteError(remote, remote_offset, local.length, RemoteAccess::kWrite);
  }
  SessionImpl::Work work;
  SetLocal(local, &work);
  work.remote.key = remote.key_;
  work.remote.offset = remote_offset;
  work.remote.window = internal::RemoteWindow::Load(remote.window_);
  return impl_->Put(work, std::move(completion), options);
}

absl::StatusOr<OperationId> Session::Get(const Slice& local, const RemoteRegion& remote, uint64_t remote_offset,
                                         Completion completion, const OperationOptions& options) {
  if (!SliceHolds(local)) return SliceError(local);
  if (!RemoteHolds(remote, remote_offset, local.length, RemoteAccess::kRead)) {
    return RemoteError(remote, remote_offset, local.length, RemoteAccess::kRead);
  }
  SessionImpl::Work work;
  SetLocal(local, &work);
  work.remote.key = remote.key_;
  work.remote.offset = remote_offset;
  work.remote.window = internal::RemoteWindow::Load(remote.window_);
  return impl_->Get(work, std::move(completion), options);
}

absl::StatusOr<OperationId> Session::Send(uint64_t tag, const Slice& local, Completion completion,
                                          const OperationOptions& options) {
  if (!SliceHolds(local)) return SliceError(local);
  SessionImpl::Work work;
  SetLocal(local, &work);
  return impl_->Send(tag, work, std::move(completion), options);
}

absl::StatusOr<OperationId> Session::Receive(uint64_t tag, const Slice& local, Completion completion,
                                             ReceiveOptions options) {
  if (!SliceHolds(local)) return SliceError(local);
  SessionImpl::Work work;
  SetLocal(local, &work);
  return impl_->Receive(tag, work, std::move(completion), std::move(options));
}

absl::Status Session::Cancel(OperationId operation) { return impl_->Cancel(operation); }
void Session::Close(Completion completion) { impl_->Close(std::move(completion)); }
absl::Status Session::status() const { return impl_->status(); }
void Session::OnEnd(absl::AnyInvocable<void(absl::Status) &&> handler) { impl_->OnEnd(std::move(handler)); }
SessionDescription Session::Describe() const { return impl_->Describe(); }
SessionStatistics Session::Statistics() const { return impl_->Statistics(); }

}  // namespace mcp
