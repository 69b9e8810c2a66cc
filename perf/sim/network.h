// A network in virtual time, for one transfer at a time: LogGP endpoints, one FIFO link a rail, reliable queue pairs
// that go back N, latency with lognormal jitter and a Pareto tail. Whole nanoseconds; the same seed gives the same
// numbers.
//
// Queue pairs. A packet is lost with the rail's probability. The peer notices with the next packet of the same queue
// pair and says so; meanwhile the sender has gone on, and everything that it sent on that queue pair since is sent
// again. Where no packet follows, only a timeout helps. So one long write loses what a round trip holds, while chunks
// that are spread over several queue pairs lose the rest of one chunk or two, and the others go on.
#ifndef MCP_PERF_SIM_NETWORK_H_
#define MCP_PERF_SIM_NETWORK_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "lib/base/random.h"

namespace mcp::internal {

struct RailState {
  double bytes_per_ns = 25;
  int64_t latency_ns = 5'000;  // one way
  double jitter = 0.1;         // standard deviation of log2 of the latency
  double stall_share = 0.002;  // of messages, delayed by a Pareto-distributed multiple of the latency
  double loss = 0;             // of packets
  bool up = true;
};

// What hosts cost. A lane of a current CPU with XXH3 at 16 GB/s and a network card at its posting rate.
struct HostCosts {
  int64_t post_ns = 100;                // a work request
  int64_t notice_ns = 400;              // a completion or a report taken
  int64_t chunk_ns = 300;               // a chunk's notification, callback and report, besides its verification
  double verify_bytes_per_ns = 16;      // one lane
  double verify_all_bytes_per_ns = 64;  // a committed transfer is verified by all lanes at once
  double copy_bytes_per_ns = 8;         // eager payload, on each side
  double replica_ns_per_byte = 0.02;    // what the second copy costs on the host's bus
  uint32_t packet_bytes = 4096;
  int64_t timeout_ns = 200'000;    // of a queue pair whose last packet was lost
  int64_t failure_ns = 5'000'000;  // after which a transfer over a dead rail is given up
};

struct Delivery {
  enum class Kind : uint8_t { kItem, kReport, kLaneFree };
  int64_t time_ns = 0;
  Kind kind = Kind::kItem;
  uint32_t tag = 0;  // the caller's
};

class Network {
 public:
  Network(const RailState& rail, const HostCosts& costs, uint64_t seed, uint32_t queue_pairs);

  // A message or write of so many bytes, behind what the queue pair already has.
  void Post(uint32_t queue_pair, uint32_t tag, uint64_t bytes, int64_t now_ns);
  // A small message from the receiver back to the sender; never lost for good.
  void Reply(uint32_t tag, int64_t now_ns);
  // Something that the caller wants to be told of at that time.
  void Schedule(Delivery::Kind kind, uint32_t tag, int64_t time_ns);

  // The next thing that happens to the caller. False when nothing will.
  bool Next(Delivery* delivery);

  uint32_t retransmits() const { return retransmits_; }
  Random& random() { return random_; }
  int64_t Latency();  // of one message, as drawn now

 private:
  struct WorkRequest {
    uint32_t tag;
    uint64_t bytes_left;
  };
  struct QueuePair {
    std::deque<WorkRequest> queue;
    bool busy = false;
    int64_t last_arrival_ns = 0;
  };
  struct Event {
    int64_t time_ns;
    uint64_t number;  // equal times keep their order
    bool internal;    // a queue pair is ready; otherwise a delivery
    Delivery::Kind kind;
    uint32_t tag;
    bool operator>(const Event& other) const {
      return time_ns != other.time_ns ? time_ns > other.time_ns : number > other.number;
    }
  };

  void Push(int64_t time_ns, bool internal, Delivery::Kind kind, uint32_t tag);
  void Transmit(uint32_t index, int64_t now_ns);
  int64_t Serialization(uint64_t bytes) const;
  uint64_t PacketsBeforeLoss();

  const RailState rail_;
  const HostCosts costs_;
  Random random_;
  std::vector<QueuePair> queue_pairs_;
  std::vector<Event> events_;  // a heap
  uint64_t next_number_ = 0;
  int64_t link_free_ns_ = 0;
  uint32_t retransmits_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_PERF_SIM_NETWORK_H_
