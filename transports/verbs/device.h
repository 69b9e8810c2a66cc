// VerbsTransport: one lane's connections and listeners.
//
// Budget of a Post: one doorbell for all of a batch that goes to one connection, one completion for 32 work requests
// and no copy of payload from 1 KiB on where it lies in registered memory. Of a Poll: two reads of completion queues;
// every eighth reads the clock, and every 500 us looks at the connection manager's descriptor too. No allocation or
// lock; no system call on the way of data.
//
// Files: paths (which way to a peer), connect (the connecting side's handshake), accept (listeners and theirs), post,
// windows (what a peer is let into for one operation), poll (rounds and waiting), recover (faults and endings), queues
// (what a lane has on a device), memory, network (what lanes share).
#ifndef MCP_TRANSPORTS_VERBS_DEVICE_H_
#define MCP_TRANSPORTS_VERBS_DEVICE_H_

#include <poll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/transport/transport.h"
#include "transports/verbs/connection.h"
#include "transports/verbs/handshake.h"
#include "transports/verbs/network.h"
#include "transports/verbs/queues.h"

namespace mcp::internal {

class VerbsTransport final : public Transport, private PeerWindows {
 public:
  static absl::StatusOr<std::unique_ptr<Transport>> Create(std::shared_ptr<VerbsNetworkImpl> network, Clock* clock,
                                                           uint32_t lane);
  ~VerbsTransport() override;

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
  void Wake() override;
  void Close(ConnectionId connection, absl::Status reason) override;
  PeerWindows* windows() override { return network_->config().protect_operations ? this : nullptr; }
  ConnectionDescription Describe(ConnectionId connection) const override;
  NodeDistances Distances(ConnectionId connection) const override;
  PathStatistics Statistics(ConnectionId connection) const override;
  uint64_t MemoryBytes(ConnectionId connection) const override;

 private:
  using State = VerbsConnection::State;
  static constexpr size_t kChainMax = 64;
  // Of a write, where a device's messages are short (soft-RoCE's are) or short requests are asked for.
  static constexpr uint64_t kWritePiecesMax = 32;
  static constexpr int kCompletionsPerPoll = 32;

  struct Listener {
    rdma_cm_id* id = nullptr;
    std::string address;
  };
  // A hello that has come in part.
  struct PartialHello {
    std::vector<std::byte> bytes;
    uint16_t total = 0;
    uint64_t age = 0;
  };
  // By which a peer reaches one operation's memory. Free: `name` is 0, and a window, if there is one, is unbound.
  struct OperationWindow {
    uint64_t name = 0;
    void* context = nullptr;
    ibv_mw* window = nullptr;
    ibv_mr* memory = nullptr;                           // that it is bound to
    std::unique_ptr<DeviceMemory::Grant> registration;  // in its place
    absl::Span<std::byte> range;
    void* owner = nullptr;  // whose connections bind it: their context
    ConnectionId bound_by = 0;
    uint16_t generation = 0;  // of that connection
    uint32_t binds = 0;
    bool lost = false;  // the bind was flushed: the peer may know a key that nothing stands behind
    bool closing = false;
  };
  // A kSent, kDone or kWindowClosed that is owed.
  struct Sent {
    Event::Kind kind;
    ConnectionId connection;
    void* context;
    uint64_t work_id;
  };

  VerbsTransport(std::shared_ptr<VerbsNetworkImpl> network, Clock* clock, uint32_t lane);

  // device.cc
  VerbsConnection* Find(ConnectionId id) const {
    if (id >= connections_.size() || connections_[id]->state == State::kFree) return nullptr;
    return connections_[id].get();
  }
  absl::StatusOr<VerbsConnection*> NewConnection(void* context);
  absl::StatusOr<LaneQueues*> QueuesOf(VerbsDevice& device);
  absl::Status MakeQueuePair(VerbsConnection& connection);
  std::string WhyThisDevice(const VerbsConnection& connection) const;
  QueuePairSettings SettingsFor(const VerbsConnection& connection, ibv_mtu path_mtu_max) const;
  VerbsCalls& calls() const { return network_->calls(); }

  // connect.cc
  std::vector<VerbsPath> PathsTo(const VerbsAddress& target, uint32_t path) const;
  absl::Status BeginRequest(VerbsConnection& connection);
  absl::Status AskAgain(VerbsConnection& connection);
  absl::Status TryNextPath(VerbsConnection& connection, absl::Status why);
  bool OthersLeft(const VerbsConnection& connection) const;
  absl::Status OnAddressResolved(VerbsConnection& connection);
  absl::Status OnRouteResolved(VerbsConnection& connection);
  absl::Status OnResponse(VerbsConnection& connection, const ConnectionEvent& event);
  absl::Status OnRejected(VerbsConnection& connection, const ConnectionEvent& event);
  void OnWelcome(VerbsConnection& connection, const std::byte* bytes, uint32_t count, uint64_t buffer);
  int RemainingMs(const VerbsConnection& connection) const;

  // accept.cc
  void OnRequest(const ConnectionEvent& event);
  bool IsRepeated(const ConnectData& data) const;
  bool CollectHello(const ConnectData& data, std::vector<std::byte>* hello);
  std::vector<VerbsAddress> ElsewhereThan(const VerbsDevice& device, const PendingConnection& request);
  void Turn(rdma_cm_id* id, const RejectData& data);
  void SayWelcome(VerbsConnection& connection);

  // post.cc
  bool Append(VerbsConnection& connection, const WorkRequest& work);
  bool AppendMessage(VerbsConnection& connection, const WorkRequest& work, MessageType type);
  bool AppendWrite(VerbsConnection& connection, const WorkRequest& work);
  bool AppendOneSided(VerbsConnection& connection, const WorkRequest& work);
  size_t AppendPlain(VerbsConnection& connection, absl::Span<const WorkRequest> works);
  // Under which key a device reads the payload, and what has to be held for it meanwhile.
  struct PayloadKey {
    uint32_t lkey = 0;
    bool transient = false;
    Registration held;
  };
  bool FindPayload(VerbsConnection& connection, const WorkRequest& work, PayloadKey* key);
  bool FindWithoutMaking(VerbsConnection& connection, const WorkRequest& work, PostedWork& posted, uint32_t* lkey);
  ibv_send_wr& ChainPieces(VerbsConnection& connection, const WorkRequest& work, ibv_wr_opcode opcode, PayloadKey key);
  uint64_t PieceBytes(const VerbsConnection& connection, const WorkRequest& work) const;
  uint64_t PiecesOf(const VerbsConnection& connection, const WorkRequest& work) const;
  void AskForCompletion(VerbsConnection& connection, ibv_send_wr* work);
  ibv_send_wr& NextInChain(VerbsConnection& connection);
  void FinishSend(VerbsConnection& connection, ibv_send_wr* work, MessageType type, bool signaled);
  void Ring(VerbsConnection& connection);
  void Doorbell(VerbsConnection& connection);
  void OnPostRefused(VerbsConnection& connection, uint32_t lost, int error);
  bool PostOwn(VerbsConnection& connection, MessageType type, absl::Span<const std::byte> bytes);
  bool PostMarker(VerbsConnection& connection);
  bool PostEmptyWrite(VerbsConnection& connection);
  void HoldRegion(VerbsConnection& connection, const DeviceMemory::Grant& region);
  void SeeHoldsThrough();
  void PayCredit();

  // windows.cc
  absl::StatusOr<Opened> Open(std::optional<ConnectionId> id, const DeviceMemory::Grant& region,
                              absl::Span<std::byte> range, void* context) override;
  bool Close(uint64_t name) override;
  OperationWindow* WindowOf(uint64_t name);
  bool Bind(VerbsConnection& connection, OperationWindow& window, absl::Span<std::byte> range);
  bool BindFor(VerbsConnection& connection, OperationWindow& window, uint64_t name);
  void BindLostWindows(VerbsConnection& connection);
  void OnBindFlushed(uint64_t name);
  void OnUnbound(uint64_t name, bool done);
  void Release(OperationWindow& window, bool unbound);
  void FreeWindows();

  // poll.cc
  Event* NextEvent(Event::Kind kind, ConnectionId connection, void* context);
  Event* NextEvent(Event::Kind kind, const VerbsConnection& connection) {
    return NextEvent(kind, connection.id, connection.context);
  }
  bool full() const { return given_ == events_.size(); }
  void ReturnDelivered();
  void PollReceives(LaneQueues& queues);
  void PollSends(LaneQueues& queues);
  void TakeReceive(LaneQueues& queues, const ibv_wc& completion);
  void TakeSend(LaneQueues& queues, const ibv_wc& completion);
  void OnSendFailed(LaneQueues& queues, VerbsConnection& connection, const ibv_wc& completion);
  void DeliverSent();
  void DeliverQueued();
  void LookAroundIfDue();
  void LookAround();
  pollfd* AddDevices(pollfd* to) const;
  void TakeConnectionEvents();
  void HandleConnectionEvent(const ConnectionEvent& event);
  bool ArmAndLook();
  void Block(int64_t deadline_ns);

  // recover.cc
  void BeginClose(VerbsConnection& connection, absl::Status reason, bool tell_peer);
  void FailQueuePair(VerbsConnection& connection);
  void AdvanceClosing();
  void CheckDeadlines();
  void CheckReports();
  bool ReceivesAreBack(VerbsConnection& connection);
  void FinishClose(VerbsConnection& connection);
  void DropQueuePair(VerbsConnection& connection);
  void Retire(VerbsConnection& connection, PostedWork& work, bool done);
  void SetReceivesAside(LaneQueues& queues, uint32_t qp_number);
  void Watch(VerbsConnection& connection);
  void OnBadReceive(VerbsConnection& connection, const ibv_wc& completion);
  absl::Status ReportedFault(const VerbsConnection& connection) const;
  absl::Status ReasonOf(const VerbsConnection& connection, const ibv_wc& completion);
  bool PortIsDown(const VerbsDevice& device);

  const std::shared_ptr<VerbsNetworkImpl> network_;
  Clock* const clock_;
  const uint32_t lane_;
  TransportInfo info_;
  rdma_event_channel* channel_ = nullptr;
  int wake_fd_ = -1;
  std::atomic<bool> woken_{false};
  std::atomic<bool> waiting_{false};

  std::array<std::unique_ptr<LaneQueues>, kDevicesMax> queues_;  // by device
  std::vector<LaneQueues*> queues_in_use_;                       // those that are there
  std::vector<std::unique_ptr<VerbsConnection>> connections_;
  std::vector<ConnectionId> free_ids_;
  absl::flat_hash_map<uint32_t, VerbsConnection*> by_qp_[kDevicesMax];
  std::vector<Listener> listeners_;
  absl::flat_hash_map<uint64_t, PartialHello> partial_hellos_;
  uint64_t hellos_seen_ = 0;

  std::vector<OperationWindow> windows_;
  std::deque<uint32_t> free_windows_;  // their places, in the order of their closing
  uint64_t windows_opened_ = 0;
  uint32_t windows_lost_ = 0;

  // Work requests under construction, for one connection. Each leads to the next and has its own entries, always.
  VerbsConnection* chain_owner_ = nullptr;
  size_t chain_length_ = 0;
  bool chain_waits_ = false;  // one-sided work since the last request that asks for a completion
  std::array<ibv_send_wr, kChainMax> chain_;
  std::array<std::array<ibv_sge, 2>, kChainMax> chain_entries_;

  // Of the round under way, and kept until the next: what its events point into.
  absl::Span<Event> events_;
  size_t given_ = 0;
  struct Delivered {
    LaneQueues* queues;
    uint64_t buffer;
    ConnectionId connection;
    uint16_t generation;
    bool counts;  // against the peer's credit
  };
  std::vector<Delivered> delivered_;
  std::vector<ConnectionId> owing_;
  std::deque<Event> queued_;  // kIncoming
  std::vector<Sent> sent_;
  size_t sent_given_ = 0;
  std::vector<ConnectionId> closing_;  // and those that are to be looked at: kLeaving, kDraining, kClosed
  uint32_t handshakes_ = 0;            // connections that wait for the connection manager
  uint32_t rounds_ = 0;
  int64_t looked_around_ns_ = 0;
  bool expects_pieces_ = false;  // of a hello, until then
  int64_t pieces_until_ns_ = 0;
  uint64_t reports_seen_ = 0;
  bool holds_waiting_ = false;  // for room in a send queue
  bool look_around_ = true;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_DEVICE_H_
