// The session suite's fixture: two engines of a kind, with so many lanes and rails, and a session between them.
#ifndef MCP_TESTS_CONTRACT_SESSION_FIXTURE_H_
#define MCP_TESTS_CONTRACT_SESSION_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mcp/engine.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"
#include "tests/support/pattern.h"

namespace mcp::internal {

struct SessionCase {
  TransportKind kind;
  int lanes;
  int rails;
  bool checksum;
  bool protect = false;  // operations, where devices place writes
};

void PrintTo(const SessionCase& session_case, std::ostream* out);
std::string SessionCaseName(const testing::TestParamInfo<SessionCase>& info);
std::vector<SessionCase> AllSessionCases();

// Registered memory that is gone after its engine's last use of it.
struct Memory {
  Memory() = default;
  Memory(Engine* engine, uint64_t size);
  Slice Part(uint64_t offset, uint64_t length) const { return region.Part(offset, length); }
  absl::Span<std::byte> Bytes(uint64_t offset, uint64_t length) {
    return absl::MakeSpan(bytes).subspan(offset, length);
  }
  void Fill(uint64_t offset, uint64_t length, uint64_t seed) { FillPattern(Bytes(offset, length), seed); }
  std::string Mismatch(uint64_t offset, uint64_t length, uint64_t seed) {
    return PatternMismatch(Bytes(offset, length), seed);
  }

  std::vector<std::byte> bytes;
  Region region;
};

class SessionContract : public testing::TestWithParam<SessionCase> {
 protected:
  void SetUp() override;
  void TearDown() override;

  virtual EngineWorld::Setup WorldSetup();
  // Before there are engines.
  virtual void PrepareWorld() {}
  virtual SessionOptions Options();

  Engine* client_engine() { return client_engine_; }
  Engine* server_engine() { return server_engine_; }
  Session& client() { return ends_.client; }
  Session& server() { return ends_.server; }
  Operations& ops() { return *ops_; }
  EngineWorld& world() { return *world_; }

  bool Drive(absl::FunctionRef<bool()> done, int64_t bound_ns = kPatienceNs) { return world_->Drive(done, bound_ns); }
  bool Finish(Operations::Index index) {
    return Drive([&] { return ops_->done(index); });
  }
  bool FinishAll() {
    return Drive([&] { return ops_->open() == 0; });
  }
  // Starts it again and again while the session has no room for it.
  Operations::Index StartPatiently(absl::FunctionRef<Operations::Index()> start);
  // Lives until the sessions and their operations have ended.
  Memory& NewMemory(Engine* engine, uint64_t size);
  RemoteRegion Export(Memory& memory, RemoteAccess access = RemoteAccess::kReadWrite);

  // In this order, so that the guard sees the last completion: the world goes before it.
  std::unique_ptr<Operations> ops_;
  std::unique_ptr<EngineWorld> world_;
  Engine* client_engine_ = nullptr;
  Engine* server_engine_ = nullptr;
  std::vector<std::unique_ptr<Memory>> memories_;
  EngineWorld::Ends ends_;
};

// Around every boundary: words, lines, pages, what goes inside a message, tiles, stripes.
std::vector<uint64_t> InterestingSizes();

}  // namespace mcp::internal

#endif  // MCP_TESTS_CONTRACT_SESSION_FIXTURE_H_
