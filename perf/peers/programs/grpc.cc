// gRPC streaming of raw bytes: the generic completion-queue API, which is what gRPC's own benchmarks call "generic
// async streaming", so no protobuf is encoded and no payload copied by this program. Each stream has a channel (a TCP
// connection), a completion queue and a thread of its own on both sides. A phase is one call per stream; its status is
// the server's word that all has arrived. Small messages carry the buffer hint, so that gRPC may batch them.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "perf/peers/programs/common.h"

namespace {

constexpr size_t kBufferHintBytesMax = 16384;
constexpr char kMethod[] = "/peers/Stream";

void Await(grpc::CompletionQueue* queue, const char* what) {
  void* tag;
  bool ok = false;
  if (!queue->Next(&tag, &ok) || !ok) die(what, "stream ended early");
}

grpc::ByteBuffer MakePayload(const options& o) {
  const grpc::Slice slice(make_buffer(o.size), o.size, grpc::Slice::STATIC_SLICE);
  return grpc::ByteBuffer(&slice, 1);
}

struct Worker {
  const options& o;
  grpc::ByteBuffer payload;
  grpc::CompletionQueue* queue;
  std::unique_ptr<grpc::ServerCompletionQueue> server_queue;  // owns `queue` on the server
  std::unique_ptr<grpc::CompletionQueue> client_queue;        // and here on the client
  std::unique_ptr<grpc::GenericStub> stub;
  uint32_t* samples_ns = nullptr;
};

template <typename Stream>
void WriteMany(Stream* stream, Worker* w, long operations) {
  grpc::WriteOptions hint;
  if (w->o.size <= kBufferHintBytesMax) hint.set_buffer_hint();
  for (long i = 0; i < operations; i++) {
    stream->Write(w->payload, i + 1 < operations ? hint : grpc::WriteOptions(), nullptr);
    Await(w->queue, "write");
  }
}

template <typename Stream>
void ReadOne(Stream* stream, Worker* w) {
  grpc::ByteBuffer message;
  stream->Read(&message, nullptr);
  Await(w->queue, "read");
  if (message.Length() != w->o.size) die("read", "wrong size");
}

void RunClientCall(Worker* w, long operations) {
  grpc::ClientContext context;
  grpc::Status status;
  auto stream = w->stub->PrepareCall(&context, kMethod, w->queue);
  stream->StartCall(nullptr);
  Await(w->queue, "call");
  if (is_latency(&w->o)) {
    for (long i = 0; i < operations; i++) {
      const int64_t start = now_ns();
      stream->Write(w->payload, nullptr);
      Await(w->queue, "write");
      ReadOne(stream.get(), w);
      if (w->samples_ns) w->samples_ns[i] = static_cast<uint32_t>((now_ns() - start) / 2);
    }
  } else {
    WriteMany(stream.get(), w, operations);
  }
  stream->WritesDone(nullptr);
  Await(w->queue, "writes done");
  stream->Finish(&status, nullptr);
  Await(w->queue, "finish");
  if (!status.ok()) die("status", status.error_message().c_str());
}

void RunServerCall(grpc::AsyncGenericService* service, Worker* w, long operations) {
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter stream(&context);
  service->RequestCall(&context, &stream, w->queue, w->server_queue.get(), nullptr);
  Await(w->queue, "call");
  for (long i = 0; i < operations; i++) {
    ReadOne(&stream, w);
    if (!is_latency(&w->o)) continue;
    stream.Write(w->payload, nullptr);
    Await(w->queue, "write");
  }
  stream.Finish(grpc::Status::OK, nullptr);
  Await(w->queue, "finish");
}

void RunPhase(grpc::AsyncGenericService* service, std::vector<Worker>* workers, const options& o, long operations) {
  std::vector<std::thread> threads;
  const long share = operations / o.connections > 0 ? operations / o.connections : 1;
  for (Worker& worker : *workers) {
    threads.emplace_back(
        [&o, service, share, w = &worker] { o.server ? RunServerCall(service, w, share) : RunClientCall(w, share); });
  }
  for (std::thread& thread : threads) thread.join();
}

void OpenChannel(Worker* w, const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection for each channel
  w->client_queue = std::make_unique<grpc::CompletionQueue>();
  w->queue = w->client_queue.get();
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10)))
    die("connect", w->o.host);
  w->stub = std::make_unique<grpc::GenericStub>(channel);
}

}  // namespace

int main(int argc, char** argv) {
  const options o = parse_options(argc, argv);
  const std::string address = std::string(o.host) + ":" + o.port;
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  std::unique_ptr<grpc::Server> server;
  std::vector<Worker> workers;
  for (int i = 0; i < o.connections; i++) {
    workers.push_back(Worker{o, {}, nullptr, nullptr, nullptr, nullptr});
    if (!o.server || is_latency(&o)) workers.back().payload = MakePayload(o);
    if (!o.server) OpenChannel(&workers.back(), address);
    if (o.server) workers.back().server_queue = builder.AddCompletionQueue();
    if (o.server) workers.back().queue = workers.back().server_queue.get();
  }
  if (o.server) {
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterAsyncGenericService(&service);
    server = builder.BuildAndStart();
    if (!server) die("listen", address.c_str());
  }

  RunPhase(&service, &workers, o, o.warmup);
  result r = {};
  r.samples_ns = workers[0].samples_ns = o.server ? nullptr : make_samples(&o);
  r.sample_count = o.iterations;
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  RunPhase(&service, &workers, o, o.iterations);
  r.seconds = 1e-9 * static_cast<double>(now_ns() - start);
  r.cpu_s = cpu_seconds() - cpu_before;
  print_result(&o, &r);
  fflush(stdout);
  _Exit(0);  // orderly shutdown of idle channels takes seconds and is not measured
}
