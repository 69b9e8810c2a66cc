// An engine with a door for a hostile peer, and a witness on another door; what both leave behind is compared.
#ifndef MCP_TESTS_PROCESS_HOSTILE_FIXTURE_H_
#define MCP_TESTS_PROCESS_HOSTILE_FIXTURE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "gtest/gtest.h"
#include "mcp/engine.h"
#include "tests/process/guarded_memory.h"
#include "tests/process/raw_peer.h"
#include "tests/process/witness.h"
#include "tests/support/engine_world.h"
#include "tests/support/operations.h"

namespace mcp::internal {

inline constexpr uint64_t kGuardedBytes = 10'000;
inline constexpr std::byte kUntouched{0x3e};

class HostileFixture : public testing::Test {
 public:
  // A session that came in by the door.
  struct Visitor {
    Session session;
    std::mutex mutex;
    bool ended = false;
    absl::Status end;
  };

  // `rails`: how many the door allows.
  bool Open(TransportKind kind, int rails, std::chrono::milliseconds peer_timeout);
  void TearDown() override;

  EngineWorld& world() { return *world_; }
  Engine* engine() { return engine_; }
  Witness& witness() { return *witness_; }
  Operations& ops() { return ops_; }
  GuardedMemory& memory() { return memory_; }
  Region& region() { return region_; }
  std::string door() const { return listener_.address(); }
  // Keys of memory(): for reading and writing, and for each alone; and one that was taken back, of memory too.
  uint64_t key() const { return key_; }
  uint64_t read_only_key() const { return read_only_key_; }
  uint64_t write_only_key() const { return write_only_key_; }
  // A key that was taken back; the memory behind it is the same.
  uint64_t RevokedKey();

  size_t visitors();
  // The newest visitor, once there are so many.
  Visitor* AwaitVisitor(size_t count);
  // Why the session ended; kDeadlineExceeded if it did not.
  absl::Status AwaitEnd(Visitor* visitor);

  // Nothing outside was touched, nothing inside either, and the witness goes on.
  void ExpectNoHarm();

 private:
  Operations ops_;
  GuardedMemory memory_{kGuardedBytes, kUntouched};
  std::unique_ptr<EngineWorld> world_;
  Engine* engine_ = nullptr;
  std::mutex mutex_;
  std::deque<std::unique_ptr<Visitor>> visitors_;
  Region region_;
  uint64_t key_ = 0;
  uint64_t read_only_key_ = 0;
  uint64_t write_only_key_ = 0;
  Listener listener_;
  std::unique_ptr<Witness> witness_;
};

// The key inside an exported region, as a peer gets to know it.
uint64_t KeyOf(const RemoteRegion& remote);

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_HOSTILE_FIXTURE_H_
