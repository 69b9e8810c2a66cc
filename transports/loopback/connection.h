// A loopback connection: two ends, each on a lane of its own, and a pipe each way.
#ifndef MCP_TRANSPORTS_LOOPBACK_CONNECTION_H_
#define MCP_TRANSPORTS_LOOPBACK_CONNECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/transport/transport.h"
#include "transports/loopback/mailbox.h"
#include "transports/loopback/pipe.h"

namespace mcp::internal {

struct LoopbackLink;

// One side of a link, as seen by its transport.
struct LoopbackEnd {
  enum class State : uint8_t {
    kConnecting,  // the peer has not answered
    kOpen,
    kClosing,  // kClosed is owed, once nobody reads our memory
    kDead,     // kClosed was given; kept while a list still names it
  };

  // Shared between lanes. Whoever turns `scheduled` to true puts the end into its mailbox (or its lane's ready list).
  std::atomic<bool> scheduled{false};
  LoopbackEnd* next = nullptr;
  std::shared_ptr<LoopbackMailbox> mailbox;  // set before the link opens, constant afterwards

  // Its own lane's.
  LoopbackLink* link = nullptr;
  int side = 0;  // 0 connects, 1 accepts
  State state = State::kConnecting;
  bool reading_stopped = false;  // a write was refused
  bool delayed = false;          // is in the transport's list of ends to look at again later
  ConnectionId id = 0;
  void* context = nullptr;
  int64_t connect_deadline_ns = 0;
  int64_t outgoing_free_ns = 0;  // when the modelled path has carried what was posted
  absl::Status close_reason;
  std::shared_ptr<LoopbackLink> keep_alive;  // reset when no list can name the end any more

  LoopbackEnd* peer() const;
  LoopbackPipe& outgoing() const;
  LoopbackPipe& incoming() const;

  // Tells this end's lane that there is something to do. From the peer's lane, or its own.
  void Schedule() {
    if (!scheduled.exchange(true)) mailbox->Push(this);
  }
};

struct LoopbackLink {
  enum class Phase : uint8_t { kPending, kOpen, kRefused, kAbandoned };

  explicit LoopbackLink(uint32_t queue_depth);

  LoopbackEnd ends[2];
  LoopbackPipe pipes[2];  // pipes[i] goes out from ends[i]

  // Connecting and closing only.
  std::mutex mutex;
  Phase phase = Phase::kPending;
  std::string addresses[2];
  std::vector<std::byte> hello;
  std::vector<std::byte> reply;
  std::string refusal;
  std::string close_message[2];
};

inline LoopbackEnd* LoopbackEnd::peer() const { return &link->ends[1 - side]; }
inline LoopbackPipe& LoopbackEnd::outgoing() const { return link->pipes[side]; }
inline LoopbackPipe& LoopbackEnd::incoming() const { return link->pipes[1 - side]; }

class LoopbackPending : public PendingConnection {
 public:
  explicit LoopbackPending(std::shared_ptr<LoopbackLink> link) : link_(std::move(link)) {}
  ~LoopbackPending() override;

  absl::Span<const std::byte> hello() const override { return link_->hello; }
  std::string remote_address() const override { return link_->addresses[0]; }
  std::string listener_address() const override { return link_->addresses[1]; }
  void Refuse(absl::string_view reason) override;

  // Opens the link with its accepting end on that mailbox. kUnavailable if the peer has given up.
  absl::StatusOr<std::shared_ptr<LoopbackLink>> Open(std::shared_ptr<LoopbackMailbox> mailbox,
                                                     absl::Span<const std::byte> reply_hello);

 private:
  const std::shared_ptr<LoopbackLink> link_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_LOOPBACK_CONNECTION_H_
