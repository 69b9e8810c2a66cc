// Traffic in both directions at once, of every kind, until the session ends: what a peer is doing when it is killed.
#ifndef MCP_TESTS_PROCESS_BUSY_PEER_H_
#define MCP_TESTS_PROCESS_BUSY_PEER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "mcp/engine.h"

namespace mcp::internal {

class BusyTraffic {
 public:
  static constexpr uint64_t kPieceBytes = 1 << 20;
  static constexpr uint64_t kPieces = 6;
  static constexpr uint64_t kRegionBytes = kPieces * kPieceBytes;
  // The last piece of each region is the target of the other side's puts.
  static constexpr uint64_t kPutOffset = (kPieces - 1) * kPieceBytes;

  // `progress` runs on a lane after every completion. The object may go once open() is 0, which it is when
  // the session has ended.
  BusyTraffic(Session* session, Region* region, std::function<void()> progress);

  // Puts, gets, sends and receives, each posting itself again.
  void Start(const RemoteRegion& remote);

  uint64_t completed() const { return completed_.load(); }
  uint64_t failed() const { return failed_.load(); }
  // Accepted and not completed.
  int64_t open() const { return open_.load(); }

 private:
  enum class Kind { kPut, kGet, kSendSmall, kSendLarge, kReceiveSmall, kReceiveLarge };

  void Post(Kind kind);

  Session* const session_;
  Region* const region_;
  const std::function<void()> progress_;
  RemoteRegion remote_;
  std::atomic<uint64_t> completed_{0};
  std::atomic<uint64_t> failed_{0};
  std::atomic<int64_t> open_{0};
};

// The peer's side of a meeting: regions are exchanged by messages, then both are busy.
inline constexpr uint64_t kGreetingTag = 1000;

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_BUSY_PEER_H_
