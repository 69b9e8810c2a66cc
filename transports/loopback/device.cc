#include "transports/loopback/device.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mcp::internal {

LoopbackTransport::LoopbackTransport(std::shared_ptr<LoopbackNetwork> network, std::string name, Clock* clock,
                                     RegionTable* regions)
    : network_(std::move(network)),
      options_(network_->options()),
      name_(std::move(name)),
      clock_(clock),
      regions_(regions),
      arena_(std::max<size_t>(kArenaBytes, options_.message_bytes_max + kHeaderBytesMax)) {
  info_.name = "loopback";
  info_.device = "memory";
  info_.capabilities = kCapabilityDeterministic;
  info_.message_bytes_max = options_.message_bytes_max;
  info_.write_bytes_max = options_.write_bytes_max;
  info_.eager_bytes_max = options_.eager_bytes_max;
  info_.eager_bytes_most = options_.message_bytes_max - kHeaderBytesMax;
  info_.tail_probe_ns = options_.tail_probe_ns;
}

LoopbackTransport::~LoopbackTransport() {
  network_->UnregisterAll(mailbox_.get());
  mailbox_->DropIncoming("");
  for (size_t id = 0; id < ends_.size(); ++id) {
    LoopbackEnd* end = ends_[id];
    if (end == nullptr) continue;
    if (end->state != LoopbackEnd::State::kClosing) Abandon(end, "the transport was destroyed");
    // A copy out of our memory that had begun ends by itself: it depends on nothing but its own lane.
    while (end->outgoing().reading()) std::this_thread::yield();
    Detach(end);
  }
  // What is still named by a list is in ours, or a peer is about to push it.
  while (dead_ > 0) {
    mailbox_->TakeAll(&ready_);
    while (!ready_.empty()) Release(ready_.PopFront());
  }
}

absl::StatusOr<std::string> LoopbackTransport::Listen(absl::string_view address) {
  return network_->Register(address, mailbox_);
}

void LoopbackTransport::StopListening(absl::string_view bound_address) {
  network_->Unregister(bound_address, mailbox_.get());
  mailbox_->DropIncoming(bound_address);
}

absl::StatusOr<ConnectionId> LoopbackTransport::Connect(absl::string_view address, uint32_t /*path*/,
                                                        absl::Span<const std::byte> hello, void* context,
                                                        int64_t deadline_ns) {
  if (!absl::StartsWith(address, "loopback:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("loopback: connect to '", address, "': not of the form loopback:NAME"));
  }
  if (hello.size() > kHelloBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("loopback: connect to '", address, "': hello of ", hello.size(),
                                                   " bytes; most is ", kHelloBytesMax));
  }
  auto link = std::make_shared<LoopbackLink>(options_.queue_depth);
  link->addresses[0] = name_;
  link->addresses[1] = std::string(address);
  link->hello.assign(hello.begin(), hello.end());
  link->ends[0].mailbox = mailbox_;
  absl::StatusOr<LoopbackEnd*> end = Attach(link, 0, context);
  if (!end.ok()) return end.status();
  (*end)->connect_deadline_ns = deadline_ns;
  connecting_.push_back((*end)->id);
  const absl::Status status = network_->Offer(address, std::make_unique<LoopbackPending>(link));
  if (!status.ok()) (*end)->close_reason = status;
  return (*end)->id;
}

absl::StatusOr<ConnectionId> LoopbackTransport::Accept(std::unique_ptr<PendingConnection> pending,
                                                       absl::Span<const std::byte> reply_hello, void* context) {
  auto* loopback = dynamic_cast<LoopbackPending*>(pending.get());
  if (loopback == nullptr) {
    return absl::InvalidArgumentError("loopback: accept: the pending connection is of another kind of transport");
  }
  if (reply_hello.size() > kHelloBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("loopback: accept: hello of ", reply_hello.size(), " bytes; most is ", kHelloBytesMax));
  }
  if (free_ids_.empty() && ends_.size() >= options_.connections_max) {
    loopback->Refuse("the accepting side has its most connections");
    return absl::ResourceExhaustedError(
        absl::StrCat("loopback: accept: ", options_.connections_max, " connections is the most"));
  }
  absl::StatusOr<std::shared_ptr<LoopbackLink>> link = loopback->Open(mailbox_, reply_hello);
  if (!link.ok()) return link.status();
  absl::StatusOr<LoopbackEnd*> end = Attach(*std::move(link), 1, context);
  if (!end.ok()) return end.status();
  (*end)->state = LoopbackEnd::State::kOpen;
  return (*end)->id;
}

absl::StatusOr<LoopbackEnd*> LoopbackTransport::Attach(std::shared_ptr<LoopbackLink> link, int side, void* context) {
  if (free_ids_.empty()) {
    if (ends_.size() >= options_.connections_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("loopback: ", options_.connections_max, " connections is the most"));
    }
    free_ids_.push_back(static_cast<ConnectionId>(ends_.size()));
    ends_.push_back(nullptr);
  }
  LoopbackEnd* end = &link->ends[side];
  end->id = free_ids_.back();
  free_ids_.pop_back();
  end->context = context;
  end->keep_alive = std::move(link);
  ends_[end->id] = end;
  return end;
}

void LoopbackTransport::Detach(LoopbackEnd* end) {
  ends_[end->id] = nullptr;
  free_ids_.push_back(end->id);
  if (end->delayed) later_.erase(std::find(later_.begin(), later_.end(), end));
  if (end->state == LoopbackEnd::State::kConnecting) std::erase(connecting_, end->id);
  end->state = LoopbackEnd::State::kDead;
  ++dead_;
  // Taking the flag for good keeps the end out of every list. If somebody has it, the end is in a list, or on its way
  // there, and is released when it comes out.
  if (!end->scheduled.exchange(true)) Release(end);
}

void LoopbackTransport::Release(LoopbackEnd* end) {
  --dead_;
  const std::shared_ptr<LoopbackLink> last = std::move(end->keep_alive);
}

void LoopbackTransport::Abandon(LoopbackEnd* end, absl::string_view message) {
  LoopbackLink* link = end->link;
  bool peer_attached = false;
  {
    std::lock_guard<std::mutex> lock(link->mutex);
    link->close_message[end->side] = std::string(message);
    peer_attached = link->phase == LoopbackLink::Phase::kOpen;
    if (link->phase == LoopbackLink::Phase::kPending) link->phase = LoopbackLink::Phase::kAbandoned;
  }
  end->outgoing().Close();
  if (peer_attached) end->peer()->Schedule();
}

void LoopbackTransport::Close(ConnectionId connection, absl::Status reason) {
  LoopbackEnd* end = Find(connection);
  if (end == nullptr || end->state == LoopbackEnd::State::kClosing) return;
  Abandon(end, reason.message());
  if (end->state == LoopbackEnd::State::kConnecting) std::erase(connecting_, end->id);
  end->state = LoopbackEnd::State::kClosing;
  end->close_reason = std::move(reason);
  Requeue(end);
}

ConnectionDescription LoopbackTransport::Describe(ConnectionId connection) const {
  ConnectionDescription description;
  const LoopbackEnd* end = Find(connection);
  if (end == nullptr) return description;
  description.local_address = end->link->addresses[end->side];
  description.remote_address = end->link->addresses[1 - end->side];
  if (options_.delay_ns != 0 || options_.bytes_per_second != 0) {
    description.notes.push_back(absl::StrCat("modelled path: delay ", options_.delay_ns, " ns, ",
                                             options_.bytes_per_second, " bytes/s (0: no limit)"));
  }
  return description;
}

uint64_t LoopbackTransport::MemoryBytes(ConnectionId connection) const {
  const LoopbackEnd* end = Find(connection);
  if (end == nullptr) return 0;
  return sizeof(LoopbackLink) / 2 + end->outgoing().memory_bytes();  // each side counts its half
}

}  // namespace mcp::internal
