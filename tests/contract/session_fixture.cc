#include "tests/contract/session_fixture.h"

#include "absl/strings/str_cat.h"

namespace mcp::internal {

void PrintTo(const SessionCase& session_case, std::ostream* out) {
  *out << TransportKindName(session_case.kind) << "_lanes" << session_case.lanes << "_rails" << session_case.rails
       << (session_case.checksum ? "" : "_unchecked") << (session_case.protect ? "_protected" : "");
}

std::string SessionCaseName(const testing::TestParamInfo<SessionCase>& info) {
  return testing::PrintToString(info.param);
}

std::vector<SessionCase> AllSessionCases() {
  std::vector<SessionCase> cases;
  for (const TransportKind kind : {TransportKind::kLoopback, TransportKind::kTcpIoUring, TransportKind::kTcpEpoll,
                                   TransportKind::kVerbs, TransportKind::kVerbsFake}) {
    cases.push_back({kind, 0, 1, true});
    cases.push_back({kind, 0, 3, false});
    cases.push_back({kind, 1, 2, true});
    cases.push_back({kind, 2, 2, false});
    cases.push_back({kind, 2, 4, true});
    if (IsVerbs(kind)) cases.push_back({kind, 2, 2, true, true});
  }
  return cases;
}

Memory::Memory(Engine* engine, uint64_t size) : bytes(size) {
  auto registered = engine->Register(bytes.data(), size);
  EXPECT_TRUE(registered.ok()) << registered.status();
  if (registered.ok()) region = *std::move(registered);
}

EngineWorld::Setup SessionContract::WorldSetup() {
  EngineWorld::Setup setup;
  setup.kind = GetParam().kind;
  setup.protect_operations = GetParam().protect;
  return setup;
}

SessionOptions SessionContract::Options() {
  SessionOptions options;
  options.rails = GetParam().rails;
  options.checksum = GetParam().checksum;
  return options;
}

void SessionContract::SetUp() {
  const std::string reason = WhyNoTransport(GetParam().kind);
  if (!reason.empty()) GTEST_SKIP() << reason;
  ops_ = std::make_unique<Operations>();
  world_ = std::make_unique<EngineWorld>(WorldSetup());
  ops_->set_world(world_.get());
  PrepareWorld();
  client_engine_ = world_->MakeEngine(GetParam().lanes);
  server_engine_ = world_->MakeEngine(GetParam().lanes);
  ASSERT_TRUE(client_engine_ != nullptr && server_engine_ != nullptr);
  ASSERT_TRUE(world_->Connect(client_engine_, server_engine_, Options(), &ends_)) << ends_.status;
}

void SessionContract::TearDown() {
  if (world_ == nullptr) return;
  ends_ = EngineWorld::Ends();
  EXPECT_TRUE(FinishAll()) << ops_->open() << " operations outlive their session";
  memories_.clear();
  world_.reset();
  ops_.reset();
}

Operations::Index SessionContract::StartPatiently(absl::FunctionRef<Operations::Index()> start) {
  for (;;) {
    const Operations::Index index = start();
    const absl::Status accepted = ops_->at(index).accepted;
    if (accepted.code() != absl::StatusCode::kResourceExhausted) {
      EXPECT_TRUE(accepted.ok()) << accepted;
      return index;
    }
    const size_t open = ops_->open();
    if (!Drive([&] { return ops_->open() < open || open == 0; })) {
      ADD_FAILURE() << "no room, and nothing completes";
      return index;
    }
  }
}

Memory& SessionContract::NewMemory(Engine* engine, uint64_t size) {
  memories_.push_back(std::make_unique<Memory>(engine, size));
  return *memories_.back();
}

RemoteRegion SessionContract::Export(Memory& memory, RemoteAccess access) {
  auto remote = memory.region.Export(access);
  EXPECT_TRUE(remote.ok()) << remote.status();
  return remote.ok() ? *remote : RemoteRegion();
}

std::vector<uint64_t> InterestingSizes() {
  std::vector<uint64_t> sizes = {0, 1, 7, 63, 64, 65, 4095, 4096, 4097};
  for (const uint64_t edge : {uint64_t{8} << 10, uint64_t{16} << 10, uint64_t{32} << 10, uint64_t{64} << 10,
                              uint64_t{512} << 10, uint64_t{1} << 20, uint64_t{4} << 20}) {
    for (const uint64_t size : {edge - 256, edge - 64, edge - 1, edge, edge + 1}) sizes.push_back(size);
  }
  for (const uint64_t size : {(2ull << 20) + 1, (16ull << 20) + 7, 64ull << 20}) sizes.push_back(size);
  return sizes;
}

}  // namespace mcp::internal
