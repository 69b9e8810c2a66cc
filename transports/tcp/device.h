// TcpTransport: one lane's TCP connections and listeners.
//
// Budget of a round (Poll) on io_uring, in steady state: one io_uring_enter for everything that is sent and received;
// vmsplice and splice once a MiB of payload sent by reference. One copy of payload on each side at most, the kernel's;
// small payload is copied once more into the staging block. No allocation, no lock, no clock.
//
// Files: connect (the connecting side's handshake), accept (listeners and theirs), post, poll (rounds and events),
// receive (frames and payload coming in), recover (endings).
#ifndef MCP_TRANSPORTS_TCP_DEVICE_H_
#define MCP_TRANSPORTS_TCP_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/transport/transport.h"
#include "transports/tcp/accept.h"
#include "transports/tcp/block_pool.h"
#include "transports/tcp/connection.h"
#include "transports/tcp/network.h"
#include "transports/tcp/reactor.h"

namespace mcp::internal {

class TcpTransport final : public Transport {
 public:
  static absl::StatusOr<std::unique_ptr<Transport>> Create(std::shared_ptr<TcpNetworkImpl> network,
                                                           RegionTable* regions, Clock* clock, uint32_t lane);
  ~TcpTransport() override;

  const TransportInfo& info() const override { return info_; }
  absl::StatusOr<std::string> Listen(absl::string_view address) override;
  void StopListening(absl::string_view bound_address) override;
  absl::StatusOr<ConnectionId> Connect(absl::string_view address, uint32_t path, absl::Span<const std::byte> hello,
                                       void* context, int64_t deadline_ns) override;
  absl::StatusOr<ConnectionId> Accept(std::unique_ptr<PendingConnection> pending,
                                      absl::Span<const std::byte> reply_hello, void* context) override;
  size_t Post(absl::Span<const WorkRequest> batch) override;
  size_t Poll(absl::Span<Event> events) override;
  void Wait(int64_t deadline_ns) override;
  void Wake() override { reactor_->Wake(); }
  void Close(ConnectionId connection, absl::Status reason) override;
  ConnectionDescription Describe(ConnectionId connection) const override;
  PathStatistics Statistics(ConnectionId connection) const override;
  uint64_t MemoryBytes(ConnectionId connection) const override;

 private:
  // Whose a reactor's socket is.
  struct SocketOwner {
    enum class Kind : uint8_t { kNone, kControl, kData, kListener, kCandidate };
    Kind kind = Kind::kNone;
    uint32_t index = 0;  // of the connection, listener or candidate
  };
  // A receive buffer with bytes that have not been parsed.
  struct Chunk {
    uint32_t position = 0;
    uint32_t end = 0;
    uint16_t next = kNoChunk;
  };
  struct Sent {
    ConnectionId connection;
    uint64_t work_id;
  };

  TcpTransport(std::shared_ptr<TcpNetworkImpl> network, RegionTable* regions, Clock* clock, uint32_t lane,
               std::unique_ptr<Reactor> reactor);

  // device.cc
  absl::StatusOr<SocketId> AddSocket(int fd, SocketOwner owner);
  void RemoveSocket(SocketId id);
  absl::StatusOr<Connection*> NewConnection(void* context);
  SendPools send_pools() { return {&blocks_, &batches_}; }

  // connect.cc
  absl::Status BeginAttempt(Connection& connection);
  absl::Status BeginSocket(Connection& connection, ConnectionSocket& socket, SocketOwner::Kind kind);
  void ContinueConnect(Connection& connection, ConnectionSocket& socket, int32_t result);
  absl::Status FinishSocket(Connection& connection, ConnectionSocket& socket);
  absl::Status ContinueReply(Connection& connection);
  void FailAttempt(Connection& connection, const absl::Status& status);
  void NextAttemptWhenIdle(Connection& connection);
  absl::Status Open(Connection& connection, bool same_host);
  void ChooseSendMode(Connection& connection);

  // accept.cc
  void AcceptWaiting(uint32_t listener_index);
  void AddCandidate(Descriptor socket, uint32_t listener_index);
  void ContinueCandidate(uint32_t index);
  void PairCandidate(uint32_t index);
  void DropCandidate(uint32_t index);
  void FinishListener(uint32_t index);

  // post.cc
  bool PostOne(Connection& connection, const WorkRequest& work);
  void MarkDirty(Connection& connection);
  void FlushDirty();
  void FlushControl(Connection& connection);
  void SendAtOnce(Connection& connection);
  void FlushData(Connection& connection);
  bool PumpPages(Connection& connection);
  void HandleControlSent(Connection& connection, const OperationResult& result);
  void HandleDataSent(Connection& connection, const OperationResult& result);
  void HandleReleased(Connection& connection, const OperationResult& result);

  // poll.cc
  Event* NextEvent(Event::Kind kind, const Connection& connection);
  void ReleaseDelivered();
  void HandleResult(const OperationResult& result);
  void HandleConnectionResult(Connection& connection, bool control, const OperationResult& result);
  void MarkReady(Connection& connection);
  void DeliverReady();
  void DeliverSent();
  void DeliverHandshakes();
  void DeliverClosed();
  void CheckDeadlines();

  // receive.cc
  void HandleControlReceived(Connection& connection, const OperationResult& result);
  void AppendChunk(Connection& connection, uint16_t buffer, uint32_t bytes);
  bool Deliver(Connection& connection);  // false: the events are full
  bool DeliverHeld(Connection& connection);
  bool ParseChunk(Connection& connection);
  bool ParsePartial(Connection& connection, Chunk& chunk);
  void KeepPartial(Connection& connection, const std::byte* bytes, uint32_t count, size_t needed);
  bool TakeFrame(Connection& connection, const TcpFrame& frame);
  void TakeWrite(Connection& connection, const TcpFrame& frame);
  void StopReading(Connection& connection);
  void DropChunks(Connection& connection);
  void PauseOrResume(Connection& connection);
  void StartPayload(Connection& connection);
  void HandlePayload(Connection& connection, const OperationResult& result);
  void WithdrawPins();

  // recover.cc
  void BeginClose(Connection& connection, absl::Status reason);
  void FinishCloseWhenIdle(Connection& connection);
  void SayGoodbye(Connection& connection);
  void ReleaseResources(Connection& connection);

  const std::shared_ptr<TcpNetworkImpl> network_;
  RegionTable* const regions_;
  Clock* const clock_;
  const uint32_t lane_;
  TransportInfo info_;

  BlockPool blocks_;
  ObjectPool<SendBatch> batches_;
  ObjectPool<DataQueue> data_queues_;
  ObjectPool<ReceiveBatch> receive_batches_;
  PagePipePool pipes_;
  std::unique_ptr<std::byte[]> scratch_;  // discarded payload goes here; only ever written

  std::vector<SocketOwner> owners_;  // by SocketId
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<ConnectionId> free_connections_;
  std::vector<std::unique_ptr<TcpListener>> listeners_;
  std::vector<std::unique_ptr<Candidate>> candidates_;
  std::vector<uint32_t> free_candidates_;
  absl::flat_hash_map<uint64_t, uint32_t> waiting_candidates_;  // by token

  std::vector<ConnectionId> dirty_;
  std::vector<ConnectionId> flushing_;
  std::vector<ConnectionId> ready_;
  std::vector<ConnectionId> delivering_;
  std::vector<ConnectionId> receiving_payload_;  // those with pins, at least
  std::vector<Sent> sent_;
  size_t sent_given_ = 0;
  std::vector<Event> handshakes_;  // kConnected and kIncoming to be given
  std::vector<ConnectionId> closed_;
  uint32_t connecting_ = 0;
  uint32_t live_candidates_ = 0;
  uint32_t resting_listeners_ = 0;
  int64_t next_check_ns_ = 0;
  uint64_t invalidations_seen_ = 0;

  // Of the round under way, and kept until the next: what its events point into.
  absl::Span<Event> events_;
  size_t events_given_ = 0;
  OperationResult results_[kResultsPerRun];
  Chunk chunks_[kReceiveBuffers + kPolledBuffers];
  std::vector<uint16_t> delivered_buffers_;
  Block* delivered_blocks_ = nullptr;
  std::vector<std::unique_ptr<Connecting>> delivered_hellos_;

  // Last, so that it ends first: it stops what may still touch the memory above.
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_DEVICE_H_
