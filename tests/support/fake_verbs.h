// An RDMA device in memory, and a connection manager to go with it: what libibverbs and librdmacm are to the verbs
// transport, for tests that run anywhere.
//
// The data path is the transport's own: it posts and polls through the operation table of a context whose functions are
// here. Work completes inside the call that posts it, under the rules of reliable connections: in order, checked
// against registered memory, and into the error state at the first failure. The device holds its user to its limits: a
// send queue that overflows is refused, a completion queue that overflows fails, a message that finds no receive buffer
// ends its connection; each is counted.
//
// A fabric of no cost checks nothing, counts without a lock and moves only messages: what is written or read
// one-sidedly stays where it is. It is there to measure what stands above it.
//
// Engines that share a fabric reach each other. Thread rule: any thread, by one lock; at no cost, one thread.
#ifndef MCP_TESTS_SUPPORT_FAKE_VERBS_H_
#define MCP_TESTS_SUPPORT_FAKE_VERBS_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/types/span.h"
#include "lib/memory/memory_node.h"
#include "transports/verbs/calls.h"

namespace mcp::internal {

struct FakeContext;
struct FakeQueuePair;
struct FakeRegion;
struct FakeWindow;
struct FakeId;

class FakeFabric {
 public:
  enum class Kind { kChecked, kNoCost };
  // Every engine has so many devices: fake0 at 127.0.0.1 and [::1], fake1 at 127.0.1.1, ...; their second ports, if
  // they have any, at 127.1.0.1, 127.1.1.1, ...
  explicit FakeFabric(Kind fabric_kind = Kind::kChecked, uint8_t device_count = 1, uint8_t ports_each = 1)
      : kind(fabric_kind), devices(device_count), ports(ports_each) {}

  struct Counters {
    uint64_t sends_posted = 0;      // work requests
    uint64_t doorbells = 0;         // calls that posted some
    uint64_t send_completions = 0;  // entries of send completion queues
    uint64_t send_overflows = 0;    // posted beyond a send queue's depth
    uint64_t completion_overflows = 0;
    uint64_t receives_missing = 0;  // messages that found no buffer
    uint64_t access_errors = 0;     // remote memory refused
    uint64_t notifications = 0;
    uint64_t failures = 0;  // that were asked for by FailNext
    uint64_t windows_made = 0;
    uint64_t binds = 0;                        // of memory; unbinding is not counted
    uint64_t regions_lost = 0;                 // deregistered under a window that was bound to them
    uint64_t receives_lost = 0;                // buffers that went with a queue pair that was destroyed too soon
    size_t regions = 0;                        // registered now
    std::vector<uint64_t> dmabufs_registered;  // from where in them, each time
  };

  Counters counters();
  // The next work request that is posted anywhere, or the one after so many more, completes with this status.
  void FailNext(ibv_wc_status status, uint64_t after = 0);
  // The device of the engine made in that place (from 0) goes, once it has written and read so much more.
  void LoseDevice(size_t engine, uint8_t device, uint64_t after_bytes);
  // One of its ports, from 1, gets no more answers once it has written and read so much more, and nothing gets to or
  // from its address any more.
  void LosePort(size_t engine, uint8_t device, uint8_t port, uint64_t after_bytes);
  // What it has written and read so far; by that port, or all of them.
  uint64_t BytesMoved(size_t engine, uint8_t device, uint8_t port = 0);
  // Engines that are made from now on find devices without memory windows.
  void TakeWindowsAway();
  // The engine that is made in that place (from 0) finds devices with so many RDMA reads each way; others with 16.
  void LimitReads(size_t engine, int most);
  // From now on no device takes dma-bufs.
  void TakeDmabufsAway();
  // Every engine's device reports it; on queue pairs, for each that it has.
  void Report(ibv_event_type type);
  // What becomes of a buffer that a queue pair has taken off its shared queue, when it fails: it has come back when
  // the device says so, at once, or later; or the device does not say.
  enum class LastReceives { kTold, kKept, kUntold };
  // For queue pairs that fail from now on. Those that keep one give it back when it is no longer kKept.
  void SetLastReceives(LastReceives receives);
  // What is posted from now on is left undone until the queue pair fails, as if the peer did not answer.
  void HoldSends(bool hold);
  // Those that are asked for from now on cannot be made.
  void RefuseQueuePairs(bool refuse);
  // Of all devices.
  void SetPortsDown(bool down);
  // Nothing gets to or from this address any more: resolving it fails.
  void Cut(const std::string& address);
  // Engines that are made from now on find that device on another node than their CPUs.
  void MoveFar(uint8_t device);
  // They find it so far from node 0, node 1 and so on; without this, from no node.
  void SetDistances(uint8_t device, const std::vector<uint8_t>& distances);
  // What is registered of this memory from now on is on that node.
  void PutOnNode(absl::Span<const std::byte> memory, int node);
  // Devices of engines that are made from now on have a second GID at their IPv4 addresses, of RoCE v1, by which the
  // connection manager goes from now on, or does not.
  enum class RoceMode { kV1, kV2 };
  void AddRoceV1(RoceMode default_mode);
  // The kernel does not tell engines that are made from now on what memory is where.
  void HideNodes();
  // So many of the connection manager's messages get lost, of those that are sent next.
  void LoseRequests(int count);
  void LoseRejections(int count);
  // Ports count so much more.
  void Count(const PortCounters& more);

 private:
  friend class FakeCalls;
  friend struct FakeOperations;

  std::vector<GidEntry> GidsOf(uint8_t device) const;
  // Of the one by which the connection manager goes from that address; -1: the device has none of it.
  int GidIndexFor(uint8_t device, uint8_t port, const sockaddr* source) const;
  NodeDistances DistancesOf(uint8_t device);
  absl::StatusOr<MemoryNode> NodeOf(absl::Span<const std::byte> range);

  const Kind kind;
  const uint8_t devices;
  const uint8_t ports;
  std::mutex mutex;
  std::condition_variable acknowledged;  // an event has been told
  Counters counts;
  int fail_next = -1;
  uint64_t spared_before = 0;
  bool hold = false;
  LastReceives last_receives = LastReceives::kTold;
  bool ports_down = false;
  int requests_to_lose = 0;
  int rejections_to_lose = 0;
  bool queue_pairs_refused = false;
  PortCounters port_counters;
  int far_device = -1;
  std::map<uint8_t, NodeDistances> distances;
  struct PlacedMemory {
    const std::byte* begin;
    const std::byte* end;
    MemoryNode node;
  };
  std::vector<PlacedMemory> placed_memory;
  bool nodes_hidden = false;
  bool has_roce_v1 = false;
  bool prefers_roce_v1 = false;
  std::set<std::string> cut;
  uint32_t next_number = 100;
  uint16_t next_port = 20000;
  std::vector<FakeContext*> contexts;
  std::unordered_map<uint32_t, FakeQueuePair*> queue_pairs;
  std::unordered_map<uint32_t, FakeRegion*> regions;  // by key: lkey and rkey are one
  bool windows = true;
  std::map<size_t, int> reads_of_engines;
  bool dmabufs = true;
  uint32_t next_window = 1 << 16;                              // apart from regions' keys
  std::unordered_map<uint32_t, FakeWindow*> windows_by_index;  // a key without its low eight bits
  std::map<uint16_t, FakeId*> listeners;
};

std::unique_ptr<VerbsCalls> FakeVerbsCalls(std::shared_ptr<FakeFabric> fabric);

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_FAKE_VERBS_H_
