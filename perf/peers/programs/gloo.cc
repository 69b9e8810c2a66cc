// gloo's tcp transport with unbound buffers, as PyTorch's gloo backend drives it: a window of sends and receives, a
// slot and a buffer object for each. Rank 0 is the client.
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <memory>
#include <vector>

#include "perf/peers/programs/common.h"

namespace {

using Buffers = std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>>;

struct Side {
  const options& o;
  int other;
  gloo::rendezvous::Context context;
  std::unique_ptr<gloo::transport::UnboundBuffer> word;
  Buffers window;    // all over the same payload
  Buffers incoming;  // ping-pong only
};

constexpr uint64_t kWordSlot = 1;
constexpr uint64_t kPayloadSlot = 2;

void Connect(Side* side) {
  gloo::transport::tcp::attr attr(side->o.host);
  std::shared_ptr<gloo::transport::Device> device = gloo::transport::tcp::CreateDevice(attr);
  gloo::rendezvous::FileStore store(side->o.store);
  side->context.setTimeout(std::chrono::seconds(20));
  side->context.connectFullMesh(store, device);
}

void Stream(Side* side, long operations) {
  const long window = side->o.window;
  const bool is_server = side->o.server;
  for (long i = 0; i < operations + window; i++) {
    auto& buffer = side->window[i % window];
    if (i >= window && i - window < operations) is_server ? buffer->waitRecv() : buffer->waitSend();
    if (i >= operations) continue;
    const uint64_t slot = kPayloadSlot + static_cast<uint64_t>(i % window);
    is_server ? buffer->recv(side->other, slot) : buffer->send(side->other, slot);
  }
  if (is_server) {
    side->word->send(side->other, kWordSlot);
    side->word->waitSend();
  } else {
    side->word->recv(side->other, kWordSlot);
    side->word->waitRecv();
  }
}

void PingPong(Side* side, long operations, uint32_t* samples_ns) {
  auto& outgoing = side->window[0];
  auto& incoming = side->incoming[0];
  for (long i = 0; i < operations; i++) {
    const int64_t start = now_ns();
    incoming->recv(side->other, kPayloadSlot);
    if (!side->o.server) outgoing->send(side->other, kPayloadSlot);
    incoming->waitRecv();
    if (side->o.server) outgoing->send(side->other, kPayloadSlot);
    outgoing->waitSend();
    if (samples_ns) samples_ns[i] = static_cast<uint32_t>((now_ns() - start) / 2);
  }
}

void RunPhase(Side* side, long operations, uint32_t* samples_ns) {
  is_latency(&side->o) ? PingPong(side, operations, samples_ns) : Stream(side, operations);
}

}  // namespace

int main(int argc, char** argv) {
  const options o = parse_options(argc, argv);
  const int rank = o.server ? 1 : 0;
  Side side{o, 1 - rank, gloo::rendezvous::Context(rank, 2), nullptr, {}, {}};
  Connect(&side);
  char* payload = make_buffer(o.size);
  char word[8] = {};
  side.word = side.context.createUnboundBuffer(word, sizeof(word));
  for (int i = 0; i < o.window; i++) side.window.push_back(side.context.createUnboundBuffer(payload, o.size));
  side.incoming.push_back(side.context.createUnboundBuffer(make_buffer(o.size), o.size));

  RunPhase(&side, o.warmup, nullptr);
  result r = {};
  r.samples_ns = make_samples(&o);
  r.sample_count = o.iterations;
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  RunPhase(&side, o.iterations, r.samples_ns);
  r.seconds = 1e-9 * static_cast<double>(now_ns() - start);
  r.cpu_s = cpu_seconds() - cpu_before;
  print_result(&o, &r);
  return 0;
}
