// Two sides over an RDMA device of no cost (tests/support/fake_verbs.h), for what the library itself costs.
//
// One thread drives both. Programmer errors end the program: this measures, and nothing is left to hand on to.
#ifndef MCP_PERF_MICRO_NO_COST_DEVICE_H_
#define MCP_PERF_MICRO_NO_COST_DEVICE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/log.h"
#include "lib/transport/provider.h"
#include "mcp/engine.h"
#include "tests/support/fake_verbs.h"

namespace mcp::internal {

// Engines without lanes, and a session between them.
class NoCostSession {
 public:
  struct Settings {
    uint64_t size = 0;  // of one operation
    int batch = 1;
    bool checksum = false;
    bool protect = false;  // operations (VerbsOptions)
  };
  explicit NoCostSession(const Settings& settings);
  ~NoCostSession();

  // Each starts a batch and returns when all of it has completed, receives included. Not inlined: callgrind counts them
  // by their names.
  [[gnu::noinline]] void PutBatch();
  [[gnu::noinline]] void GetBatch();
  [[gnu::noinline]] void SendBatch();
  // The same from inside a completion: each put that completes starts the next one, until a batch is done.
  [[gnu::noinline]] void PutChain();

  FakeFabric::Counters counters() { return fabric_->counters(); }

 private:
  struct Side;

  void Finish(int operations);
  void PutNext();
  void Count(const Result& result);

  const Settings settings_;
  const std::shared_ptr<FakeFabric> fabric_;
  std::unique_ptr<Side> near_;
  std::unique_ptr<Side> far_;
  Listener listener_;
  RemoteRegion remote_;
  std::vector<Slice> near_slices_;
  std::vector<Slice> far_slices_;
  int completed_ = 0;
};

// The same work by hand: two queue pairs, requests built once and posted in one list, the last one signaled.
class BareQueuePairs {
 public:
  BareQueuePairs(uint64_t size, int batch);
  ~BareQueuePairs();

  [[gnu::noinline]] void WriteBatch() { Batch(IBV_WR_RDMA_WRITE); }
  [[gnu::noinline]] void ReadBatch() { Batch(IBV_WR_RDMA_READ); }
  // Each message is taken out of the receive queue, and its buffer posted again.
  [[gnu::noinline]] void SendBatch();

 private:
  struct Side {
    std::unique_ptr<VerbsCalls> calls;
    ibv_pd* domain = nullptr;
    ibv_comp_channel* channel = nullptr;
    ibv_cq* sends = nullptr;
    ibv_cq* receives = nullptr;
    ibv_srq* shared = nullptr;
    ibv_qp* qp = nullptr;
    ibv_mr* region = nullptr;
    std::vector<std::byte> bytes;
  };

  void Open(Side* side, uint64_t bytes);
  void Close(Side* side);
  void Batch(ibv_wr_opcode opcode);
  void PostReceives(int count);

  const uint64_t size_;
  const std::shared_ptr<FakeFabric> fabric_;
  Side near_;
  Side far_;
  std::vector<ibv_sge> entries_;
  std::vector<ibv_send_wr> works_;
  std::vector<ibv_recv_wr> receives_;
};

}  // namespace mcp::internal

#endif  // MCP_PERF_MICRO_NO_COST_DEVICE_H_
