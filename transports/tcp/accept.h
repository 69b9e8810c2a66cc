// The accepting side before there is a connection: listeners, sockets that have not said who they are, and pairs of
// them that wait for the session's decision.
#ifndef MCP_TRANSPORTS_TCP_ACCEPT_H_
#define MCP_TRANSPORTS_TCP_ACCEPT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "lib/transport/transport.h"
#include "lib/wire/tcp_frame.h"
#include "transports/tcp/address.h"
#include "transports/tcp/descriptor.h"
#include "transports/tcp/network.h"
#include "transports/tcp/reactor.h"

namespace mcp::internal {

struct TcpListener {
  Descriptor fd;
  Descriptor watch;  // an epoll set of `fd` alone, which the reactor waits for: it holds no reference to the socket
  SocketId id = 0;   // of `watch`
  std::string bound_address;
  bool awaiting = false;
  bool closing = false;
  int64_t resume_ns = 0;  // accept failed for want of descriptors; not before then again. 0: not resting
};

// Counts a socket as pending for as long as it lives.
class PendingCount {
 public:
  explicit PendingCount(std::shared_ptr<TcpNetworkImpl> network) : network_(std::move(network)) {
    network_->pending_sockets().fetch_add(1, std::memory_order_relaxed);
  }
  ~PendingCount() { network_->pending_sockets().fetch_sub(1, std::memory_order_relaxed); }
  PendingCount(const PendingCount&) = delete;
  PendingCount& operator=(const PendingCount&) = delete;

 private:
  const std::shared_ptr<TcpNetworkImpl> network_;
};

// An accepted socket until its preface is whole and its sibling has come.
struct Candidate {
  explicit Candidate(std::shared_ptr<TcpNetworkImpl> network) : count(std::move(network)) {}

  PendingCount count;
  Descriptor fd;
  SocketId id = 0;
  uint32_t listener = 0;
  SocketAddress remote;
  bool awaiting = false;
  bool dropping = false;
  bool paired_waiting = false;  // is in the lane's list by token
  bool preface_whole = false;
  int64_t deadline_ns = 0;
  TcpPreface preface;
  size_t bytes = 0;  // of input
  std::byte input[kTcpPrefaceBytes + kTcpHelloBytesMax];
};

class TcpPending final : public PendingConnection {
 public:
  TcpPending(std::shared_ptr<TcpNetworkImpl> network, std::string listener_address, Candidate* control,
             Candidate* data);

  absl::Span<const std::byte> hello() const override {
    return {reinterpret_cast<const std::byte*>(hello_.data()), hello_.size()};
  }
  std::string remote_address() const override { return FormatAddress(remote_); }
  std::string listener_address() const override { return listener_address_; }
  void Refuse(absl::string_view reason) override;

  // Tells the peer that it is in, and gives up the sockets.
  absl::Status Reply(absl::Span<const std::byte> reply_hello);
  Descriptor TakeControl() { return std::move(control_); }
  Descriptor TakeData() { return std::move(data_); }
  bool same_host() const { return same_host_; }

 private:
  PendingCount counts_[2];
  Descriptor control_;
  Descriptor data_;
  std::string listener_address_;
  std::string hello_;
  SocketAddress remote_;
  bool same_host_ = false;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_ACCEPT_H_
