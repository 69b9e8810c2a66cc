#include "transports/loopback/connection.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace mcp::internal {

LoopbackLink::LoopbackLink(uint32_t queue_depth) : pipes{LoopbackPipe(queue_depth), LoopbackPipe(queue_depth)} {
  for (int side = 0; side < 2; ++side) {
    ends[side].link = this;
    ends[side].side = side;
  }
}

LoopbackPending::~LoopbackPending() { Refuse("the listener dropped the connection"); }

void LoopbackPending::Refuse(absl::string_view reason) {
  {
    std::lock_guard<std::mutex> lock(link_->mutex);
    if (link_->phase != LoopbackLink::Phase::kPending) return;
    link_->phase = LoopbackLink::Phase::kRefused;
    link_->refusal = std::string(reason);
  }
  link_->ends[0].Schedule();
}

absl::StatusOr<std::shared_ptr<LoopbackLink>> LoopbackPending::Open(std::shared_ptr<LoopbackMailbox> mailbox,
                                                                    absl::Span<const std::byte> reply_hello) {
  {
    std::lock_guard<std::mutex> lock(link_->mutex);
    if (link_->phase != LoopbackLink::Phase::kPending) {
      return absl::UnavailableError(
          absl::StrCat(link_->addresses[1], ": accept ", link_->addresses[0], ": the peer has given up"));
    }
    link_->phase = LoopbackLink::Phase::kOpen;
    link_->reply.assign(reply_hello.begin(), reply_hello.end());
    link_->ends[1].mailbox = std::move(mailbox);
  }
  link_->ends[0].Schedule();
  return link_;
}

}  // namespace mcp::internal
