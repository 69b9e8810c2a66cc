#include "tests/contract/transport_fixture.h"

namespace mcp::internal {

void PrintTo(const TransportCase& transport_case, std::ostream* out) {
  *out << TransportKindName(transport_case.kind) << (transport_case.decorated ? "_decorated" : "");
}

std::string TransportCaseName(const testing::TestParamInfo<TransportCase>& info) {
  return testing::PrintToString(info.param);
}

std::vector<TransportCase> AllTransportCases() {
  std::vector<TransportCase> cases;
  for (const bool decorated : {false, true}) {
    for (const TransportKind kind : {TransportKind::kLoopback, TransportKind::kTcpIoUring, TransportKind::kTcpEpoll,
                                     TransportKind::kTcpPolled, TransportKind::kVerbs, TransportKind::kVerbsFake}) {
      cases.push_back({kind, decorated});
    }
  }
  return cases;
}

void TransportContract::SetUp() {
  const std::string reason = WhyNoTransport(GetParam().kind);
  if (!reason.empty()) GTEST_SKIP() << reason;
  std::optional<FaultPlan> plan;
  if (GetParam().decorated) plan.emplace();
  world_ = std::make_unique<TransportWorld>(GetParam().kind, plan);
  a_ = world_->MakeNode();
  b_ = world_->MakeNode();
  ASSERT_NE(a_, nullptr);
  ASSERT_NE(b_, nullptr);
  const absl::StatusOr<std::string> bound = b_->transport()->Listen(AnyAddress(GetParam().kind));
  ASSERT_TRUE(bound.ok()) << bound.status();
  address_ = *bound;
}

void TransportContract::TearDown() {
  if (world_ == nullptr || world_->ledger() == nullptr) return;
  EXPECT_EQ(world_->ledger()->total(), 0u) << "a decorator without faults did something";
}

std::unique_ptr<PendingConnection> TransportContract::TakePending() {
  if (!Drive([&] { return !b_->pending.empty(); })) return nullptr;
  std::unique_ptr<PendingConnection> pending = std::move(b_->pending.front());
  b_->pending.pop_front();
  return pending;
}

Wire TransportContract::Connect(TransportNode* client, TransportNode* server, void* client_context,
                                void* server_context) {
  Wire wire{client, server};
  const std::vector<TransportNode*> nodes = {client, server, b_};
  const auto id = client->transport()->Connect(address_, 0, AsBytes("hello"), client_context, Soon());
  EXPECT_TRUE(id.ok()) << id.status();
  if (!id.ok()) return wire;
  wire.client_id = *id;
  const bool asked = DriveUntil(
      nodes, [&] { return !b_->pending.empty(); }, kPatienceNs);
  EXPECT_TRUE(asked) << "no kIncoming";
  if (!asked) return wire;
  const auto accepted = server->transport()->Accept(std::move(b_->pending.front()), AsBytes("welcome"), server_context);
  b_->pending.pop_front();
  EXPECT_TRUE(accepted.ok()) << accepted.status();
  if (accepted.ok()) wire.server_id = *accepted;
  EXPECT_TRUE(DriveUntil(
      nodes, [&] { return client->connected.count(*id) > 0; }, kPatienceNs))
      << "no kConnected";
  return wire;
}

WorkRequest MessageWork(ConnectionId connection, absl::Span<const std::byte> header,
                        absl::Span<const std::byte> payload) {
  WorkRequest work;
  work.connection = connection;
  work.header = header.data();
  work.header_bytes = static_cast<uint32_t>(header.size());
  work.payload = payload.data();
  work.payload_bytes = payload.size();
  return work;
}

WorkRequest WriteWork(ConnectionId connection, absl::Span<const std::byte> header, absl::Span<const std::byte> payload,
                      uint64_t key, uint64_t offset) {
  WorkRequest work = MessageWork(connection, header, payload);
  work.kind = WorkRequest::Kind::kWrite;
  work.key = key;
  work.offset = offset;
  return work;
}

WorkRequest WriteWork(ConnectionId connection, absl::Span<const std::byte> header, absl::Span<const std::byte> payload,
                      const Destination& landing, uint64_t offset) {
  WorkRequest work = WriteWork(connection, header, payload, landing.key, offset);
  if (landing.grant != nullptr) work.window = landing.grant->window();
  return work;
}

bool PlacesRemotely(TransportNode* node) {
  return (node->transport()->info().capabilities & kCapabilityRemotePlacement) != 0;
}

bool LeavesByReference(TransportNode* node) {
  return (node->transport()->info().capabilities & kCapabilityZeroCopySend) != 0;
}

Destination::Destination(TransportNode* landing_node, uint64_t size, uint32_t access)
    : node(landing_node), bytes(size) {
  const auto inserted = node->regions()->Insert(bytes.data(), size, access, nullptr);
  EXPECT_TRUE(inserted.ok()) << inserted.status();
  if (inserted.ok()) key = *inserted;
  if (node->device_memory() == nullptr) return;
  auto exported = node->device_memory()->Export(absl::MakeSpan(bytes), access);
  EXPECT_TRUE(exported.ok()) << exported.status();
  if (exported.ok()) grant = *std::move(exported);
}

void Destination::TakeBack() {
  grant.reset();
  EXPECT_TRUE(node->regions()->Invalidate(key));
}

Destination::~Destination() {
  grant.reset();
  // As an engine does: taken back, and given up once nothing can be using it.
  node->regions()->Invalidate(key);  // unless TakeBack did
  TransportNode* const nodes[] = {node};
  EXPECT_TRUE(DriveUntil(
      nodes, [&] { return node->regions()->Settled(key); }, kPatienceNs));
}

std::vector<std::byte> PatternBytes(uint64_t size, uint64_t seed) {
  std::vector<std::byte> bytes(size);
  FillPattern(absl::MakeSpan(bytes), seed);
  return bytes;
}

}  // namespace mcp::internal
