// ZeroMQ: PUSH to PULL for throughput, REQ-less ping-pong over PAIR for latency, as its own local_thr and local_lat.
// Messages travel without a copy on the sending side (zmq_msg_init_data) from kZeroCopyBytes on; small ones are batched
// by the library's I/O thread. --window is the high-water mark on both sides, --connections the I/O threads and pipes.
#include <zmq.h>

#include "perf/peers/programs/common.h"

enum { kZeroCopyBytes = 4096 };

struct side {
  const struct options* o;
  void *data, *control;  // control: the server's word that all has arrived
  char* payload;
};

static void check(int code, const char* what) {
  if (code < 0) die(what, zmq_strerror(zmq_errno()));
}

static void* open_socket(void* context, const struct options* o, int type, int port_offset, int connections) {
  char address[256];
  void* s = zmq_socket(context, type);
  check(zmq_setsockopt(s, ZMQ_SNDHWM, &o->window, sizeof(o->window)), "ZMQ_SNDHWM");
  check(zmq_setsockopt(s, ZMQ_RCVHWM, &o->window, sizeof(o->window)), "ZMQ_RCVHWM");
  snprintf(address, sizeof(address), "tcp://%s:%d", o->host, atoi(o->port) + port_offset);
  if (o->server) {
    check(zmq_bind(s, address), address);
  } else {
    for (int i = 0; i < connections; i++) check(zmq_connect(s, address), address);
  }
  return s;
}

static void keep(void* data, void* hint) { (void)data, (void)hint; }

static void send_one(struct side* s) {
  if (s->o->size < kZeroCopyBytes) {
    check(zmq_send(s->data, s->payload, s->o->size, 0), "zmq_send");
    return;
  }
  zmq_msg_t message;
  zmq_msg_init_data(&message, s->payload, s->o->size, keep, NULL);
  check(zmq_msg_send(&message, s->data, 0), "zmq_msg_send");
}

static void receive_one(struct side* s, zmq_msg_t* message) {
  check(zmq_msg_recv(message, s->data, 0), "zmq_msg_recv");
  if (zmq_msg_size(message) != s->o->size) die("zmq_msg_recv", "wrong size");
}

static void stream(struct side* s, long operations) {
  char word[8] = {0};
  zmq_msg_t message;
  zmq_msg_init(&message);
  for (long i = 0; i < operations; i++) s->o->server ? receive_one(s, &message) : send_one(s);
  zmq_msg_close(&message);
  if (s->o->server) check(zmq_send(s->control, word, sizeof(word), 0), "zmq_send");
  if (!s->o->server) check(zmq_recv(s->control, word, sizeof(word), 0), "zmq_recv");
}

static void ping_pong(struct side* s, long operations, uint32_t* samples_ns) {
  zmq_msg_t message;
  zmq_msg_init(&message);
  for (long i = 0; i < operations; i++) {
    const int64_t start = now_ns();
    if (!s->o->server) send_one(s);
    receive_one(s, &message);
    if (s->o->server) send_one(s);
    if (samples_ns) samples_ns[i] = (uint32_t)((now_ns() - start) / 2);
  }
  zmq_msg_close(&message);
}

static void run_phase(struct side* s, long operations, uint32_t* samples_ns) {
  is_latency(s->o) ? ping_pong(s, operations, samples_ns) : stream(s, operations);
}

int main(int argc, char** argv) {
  const struct options o = parse_options(argc, argv);
  void* context = zmq_ctx_new();
  zmq_ctx_set(context, ZMQ_IO_THREADS, o.connections);
  const int type = is_latency(&o) ? ZMQ_PAIR : o.server ? ZMQ_PULL : ZMQ_PUSH;
  struct side s = {.o = &o, .payload = make_buffer(o.size)};
  s.control = open_socket(context, &o, ZMQ_PAIR, 1, 1);
  s.data = open_socket(context, &o, type, 0, o.connections);
  run_phase(&s, o.warmup, NULL);
  struct result r = {.samples_ns = make_samples(&o), .sample_count = o.iterations};
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  run_phase(&s, o.iterations, r.samples_ns);
  r.seconds = 1e-9 * (double)(now_ns() - start);
  r.cpu_s = cpu_seconds() - cpu_before;
  print_result(&o, &r);
  zmq_close(s.data);
  zmq_close(s.control);
  zmq_ctx_term(context);
  return 0;
}
