// One suite over every transport, plain and under a fault decorator that has nothing to do.
#ifndef MCP_TESTS_CONTRACT_TRANSPORT_FIXTURE_H_
#define MCP_TESTS_CONTRACT_TRANSPORT_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/pattern.h"
#include "tests/support/transport_node.h"

namespace mcp::internal {

struct TransportCase {
  TransportKind kind;
  bool decorated;
};

void PrintTo(const TransportCase& transport_case, std::ostream* out);
std::string TransportCaseName(const testing::TestParamInfo<TransportCase>& info);
std::vector<TransportCase> AllTransportCases();

// The two ends of one connection.
struct Wire {
  TransportNode* client = nullptr;
  TransportNode* server = nullptr;
  ConnectionId client_id = 0;
  ConnectionId server_id = 0;
};

class TransportContract : public testing::TestWithParam<TransportCase> {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Two nodes of two engines, and a connection from a() to b().
  TransportNode* a() { return a_; }
  TransportNode* b() { return b_; }
  std::vector<TransportNode*> both() { return {a_, b_}; }
  const std::string& address() const { return address_; }
  Clock* clock() { return world_->clock(); }
  TransportWorld* world() { return world_.get(); }
  int64_t Soon() { return clock()->NowNs() + kPatienceNs; }

  Wire Connect() { return Connect(a_, b_); }
  Wire Connect(TransportNode* client, TransportNode* server, void* client_context = nullptr,
               void* server_context = nullptr);
  // Waits for a peer at b's listener.
  std::unique_ptr<PendingConnection> TakePending();

  bool Drive(absl::FunctionRef<bool()> done) { return DriveUntil(both(), done, kPatienceNs); }
  void DriveAWhile() { DriveQuietly(both()); }

  std::unique_ptr<TransportWorld> world_;
  TransportNode* a_ = nullptr;
  TransportNode* b_ = nullptr;
  std::string address_;  // where b listens
};

// Work whose header is bytes of the caller's, to live until Post.
WorkRequest MessageWork(ConnectionId connection, absl::Span<const std::byte> header,
                        absl::Span<const std::byte> payload = {});
WorkRequest WriteWork(ConnectionId connection, absl::Span<const std::byte> header, absl::Span<const std::byte> payload,
                      uint64_t key, uint64_t offset);

struct Destination;
WorkRequest WriteWork(ConnectionId connection, absl::Span<const std::byte> header, absl::Span<const std::byte> payload,
                      const Destination& landing, uint64_t offset);

// Whether the device places writes, so that a write that may not be closes the connection.
bool PlacesRemotely(TransportNode* node);

// Whether large payload may leave as references to the caller's pages. What the caller writes there once the connection
// is gone, a peer that still reads may find in place of what was sent.
bool LeavesByReference(TransportNode* node);

// Memory at a node that peers may write to.
struct Destination {
  Destination(TransportNode* node, uint64_t bytes, uint32_t access = kAccessRemoteWrite);
  ~Destination();
  // The key and, where there are any, the devices' grants.
  void TakeBack();
  TransportNode* const node;
  std::vector<std::byte> bytes;
  uint64_t key = 0;
  std::unique_ptr<DeviceMemory::Grant> grant;
};

std::vector<std::byte> PatternBytes(uint64_t size, uint64_t seed);

}  // namespace mcp::internal

#endif  // MCP_TESTS_CONTRACT_TRANSPORT_FIXTURE_H_
