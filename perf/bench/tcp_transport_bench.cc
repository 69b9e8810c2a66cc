// How fast is the TCP transport by itself, between two processes of this host, without the session above it?
//
//   tcp_transport_bench --mode message|write|latency --bytes 65536 --connections 2 --seconds 2
//
// The parent sends, the child receives; one lane thread a connection on each side. The receiver confirms what it has
// delivered once a round, and the sender keeps a bounded amount unconfirmed, as the session does. Prints one line:
// messages/s and GB/s of payload, or microseconds for half a round trip, and CPU seconds per GB of each side.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/errno_status.h"
#include "lib/base/log.h"
#include "lib/memory/region_table.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {
namespace {

struct Options {
  std::string mode = "message";
  std::string address = "127.0.0.1:0";
  std::string netns;  // of the receiver: a name under /run/netns
  uint64_t bytes = 64;
  uint64_t set_bytes = 16 << 20;     // each connection's buffer, gone through in turn
  uint64_t window_bytes = 16 << 20;  // unconfirmed, each connection
  uint64_t window_messages = 4096;
  uint64_t tile_bytes = 1 << 20;  // writes are cut to this
  int connections = 2;
  double seconds = 2;
  int64_t spin_ns = 20'000;  // before a lane blocks; negative: never blocks
  TcpConfig tcp;
};

constexpr uint32_t kHeaderBytes = 56;  // about what a session puts in front

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

std::byte* Allocate(uint64_t bytes) {
  bytes = (bytes + (2 << 20) - 1) >> 21 << 21;
  void* memory = mmap(nullptr, bytes + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* aligned = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory) + (2 << 20) - 1) >> 21 << 21);
  madvise(aligned, bytes, MADV_HUGEPAGE);
  std::memset(aligned, 1, bytes);
  return aligned;
}

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "tcp_transport_bench: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

void EnterNamespace(const std::string& name) {
  const int fd = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) Fail(ErrnoStatus(errno, "enter network namespace " + name));
  close(fd);
}

// One lane with its one connection.
class Lane {
 public:
  Lane(const Options& options, std::shared_ptr<TcpNetwork> network, uint32_t index)
      : options_(options), regions_(64, Random(index + 1)), index_(index) {
    auto transport = CreateTcpTransport(std::move(network), &regions_, &clock_, 0);
    if (!transport.ok()) Fail(transport.status());
    transport_ = *std::move(transport);
    buffer_ = Allocate(options.set_bytes);
    key_ = *regions_.Insert(buffer_, options.set_bytes, kAccessRemoteWrite, nullptr);
  }

  std::string Listen() {
    auto bound = transport_->Listen(options_.address);
    if (!bound.ok()) Fail(bound.status());
    return *bound;
  }
  void Connect(const std::string& address) {
    auto id = transport_->Connect(address, 0, {}, nullptr, clock_.NowNs() + 5'000'000'000);
    if (!id.ok()) Fail(id.status());
    connection_ = *id;
  }

  void RunServer() {
    while (!closed_) {
      Round();
      if (delivered_ != confirmed_ && !latency()) Confirm();
    }
  }

  void RunClient() {
    while (!connected_) Round();
    const int64_t begin_ns = clock_.NowNs();
    const int64_t end_ns = begin_ns + static_cast<int64_t>(options_.seconds * 1e9);
    if (latency()) {
      while (!closed_ && last_ns_ < end_ns) {
        last_ns_ = clock_.NowNs();
        SendOne();
        const uint64_t before = delivered_;
        while (delivered_ == before && !closed_) Round();
        samples_.push_back(clock_.NowNs() - last_ns_);
      }
    } else {
      while (!closed_ && last_ns_ < end_ns) {
        for (int i = 0; i < 64; ++i) {
          while (Outstanding() && SendOne()) {
          }
          Round();
        }
        last_ns_ = clock_.NowNs();
      }
      while (peer_delivered_ < posted_ && !closed_) Round();
      last_ns_ = clock_.NowNs();
    }
    elapsed_ns_ = last_ns_ - begin_ns;
    if (index_ == 0) {
      for (const std::string& note : transport_->Describe(connection_).notes)
        std::fprintf(stderr, "  %s\n", note.c_str());
    }
    transport_->Close(connection_, absl::CancelledError("done"));
    while (!closed_) Round();
  }

  bool latency() const { return options_.mode == "latency"; }
  uint64_t posted() const { return posted_; }
  int64_t elapsed_ns() const { return elapsed_ns_; }
  std::vector<int64_t>& samples() { return samples_; }

 private:
  bool Outstanding() const {
    const uint64_t count = posted_ - peer_delivered_;
    return count < options_.window_messages && (count + 1) * Piece() <= std::max(options_.window_bytes, Piece());
  }
  uint64_t Piece() const {
    return options_.mode == "write" ? std::min(options_.bytes, options_.tile_bytes) : options_.bytes;
  }

  bool SendOne() {
    WorkRequest work;
    work.connection = connection_;
    std::byte header[kHeaderBytes] = {};
    std::memcpy(header, &posted_, 8);
    work.header = header;
    work.header_bytes = kHeaderBytes;
    work.payload = buffer_ + offset_;
    work.payload_bytes = Piece();
    if (options_.mode == "write") {
      work.kind = WorkRequest::Kind::kWrite;
      work.key = peer_key_;
      work.offset = offset_;
    }
    if (transport_->Post({&work, 1}) == 0) return false;
    ++posted_;
    offset_ += Piece();
    if (offset_ + Piece() > options_.set_bytes) offset_ = 0;
    return true;
  }

  void Confirm() {
    WorkRequest work;
    work.connection = connection_;
    work.may_overtake = true;
    uint64_t words[2] = {delivered_, key_};
    work.header = reinterpret_cast<const std::byte*>(words);
    work.header_bytes = sizeof(words);
    if (transport_->Post({&work, 1}) == 1) confirmed_ = delivered_;
  }

  void Round() {
    regions_.EnterRound(0);
    const size_t count = transport_->Poll(absl::MakeSpan(events_));
    for (size_t i = 0; i < count; ++i) Handle(events_[i]);
    regions_.LeaveRound(0);
    if (count > 0) {
      busy_ns_ = 0;
      return;
    }
    if (options_.spin_ns < 0) return;
    const int64_t now_ns = clock_.NowNs();
    if (busy_ns_ == 0) busy_ns_ = now_ns;
    if (now_ns - busy_ns_ >= options_.spin_ns) transport_->Wait(now_ns + 100'000'000);
  }

  void Handle(Event& event) {
    switch (event.kind) {
      case Event::Kind::kIncoming: {
        auto id = transport_->Accept(std::unique_ptr<PendingConnection>(event.pending),
                                     {reinterpret_cast<const std::byte*>(&key_), 8}, nullptr);
        if (!id.ok()) Fail(id.status());
        connection_ = *id;
        return;
      }
      case Event::Kind::kConnected:
        std::memcpy(&peer_key_, event.data, 8);
        connected_ = true;
        return;
      case Event::Kind::kMessage:
        if (latency() && !connected_) {  // the server's: answer
          SendOne();
        } else if (event.data_bytes == 16 && connected_) {
          std::memcpy(&peer_delivered_, event.data, 8);
        }
        ++delivered_;
        return;
      case Event::Kind::kSent:
      case Event::Kind::kDone:
      case Event::Kind::kWindowClosed:
        return;
      case Event::Kind::kClosed:
        closed_ = true;
        return;
    }
  }

  const Options& options_;
  SystemClock clock_;
  RegionTable regions_;
  const uint32_t index_;
  std::unique_ptr<Transport> transport_;
  std::vector<Event> events_{256};
  std::byte* buffer_ = nullptr;
  uint64_t key_ = 0;
  uint64_t peer_key_ = 0;
  ConnectionId connection_ = 0;
  bool connected_ = false;
  bool closed_ = false;
  uint64_t posted_ = 0;
  uint64_t offset_ = 0;
  uint64_t delivered_ = 0;
  uint64_t confirmed_ = 0;
  uint64_t peer_delivered_ = 0;
  int64_t busy_ns_ = 0;
  int64_t last_ns_ = 0;
  int64_t elapsed_ns_ = 0;
  std::vector<int64_t> samples_;
};

void RunThreads(std::vector<std::unique_ptr<Lane>>& lanes, void (Lane::*run)()) {
  std::vector<std::thread> threads;
  for (auto& lane : lanes) threads.emplace_back([&lane, run] { (lane.get()->*run)(); });
  for (std::thread& thread : threads) thread.join();
}

std::vector<std::unique_ptr<Lane>> MakeLanes(const Options& options, Logger* logger) {
  auto network = CreateTcpNetwork(options.tcp, logger);
  if (!network.ok()) Fail(network.status());
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int i = 0; i < options.connections; ++i) {
    lanes.push_back(std::make_unique<Lane>(options, *network, static_cast<uint32_t>(i)));
  }
  return lanes;
}

int Run(const Options& options) {
  int addresses[2];
  int cpu[2];
  if (pipe(addresses) != 0 || pipe(cpu) != 0) return 1;
  Logger logger(LogLevel::kWarning);
  const pid_t child = fork();
  if (child == 0) {
    if (!options.netns.empty()) EnterNamespace(options.netns);
    auto lanes = MakeLanes(options, &logger);
    for (auto& lane : lanes) {
      char text[64] = {};
      std::snprintf(text, sizeof(text), "%s", lane->Listen().c_str());
      if (write(addresses[1], text, sizeof(text)) != sizeof(text)) return 1;
    }
    const double before = CpuSeconds();
    RunThreads(lanes, &Lane::RunServer);
    const double used = CpuSeconds() - before;
    return write(cpu[1], &used, sizeof(used)) == sizeof(used) ? 0 : 1;
  }
  auto lanes = MakeLanes(options, &logger);
  for (auto& lane : lanes) {
    char text[64] = {};
    if (read(addresses[0], text, sizeof(text)) != sizeof(text)) return 1;
    lane->Connect(text);
  }
  const double before = CpuSeconds();
  RunThreads(lanes, &Lane::RunClient);
  const double sender_cpu = CpuSeconds() - before;
  double receiver_cpu = 0;
  if (read(cpu[0], &receiver_cpu, sizeof(receiver_cpu)) != sizeof(receiver_cpu)) return 1;
  waitpid(child, nullptr, 0);

  if (options.mode == "latency") {
    std::vector<int64_t> samples;
    for (auto& lane : lanes) samples.insert(samples.end(), lane->samples().begin(), lane->samples().end());
    std::sort(samples.begin(), samples.end());
    const auto half_us = [&](double q) {
      return static_cast<double>(samples[static_cast<size_t>(q * static_cast<double>(samples.size() - 1))]) / 2000;
    };
    std::printf("latency %llu B x%d: p50 %.2f us p99 %.2f us\n", static_cast<unsigned long long>(options.bytes),
                options.connections, half_us(0.5), half_us(0.99));
    return 0;
  }
  const uint64_t piece = options.mode == "write" ? std::min(options.bytes, options.tile_bytes) : options.bytes;
  double rate = 0;
  double bytes = 0;
  for (auto& lane : lanes) {
    rate += static_cast<double>(lane->posted()) / (static_cast<double>(lane->elapsed_ns()) * 1e-9);
    bytes += static_cast<double>(lane->posted() * piece);
  }
  std::printf("%s %llu B x%d set %llu MiB: %.3f M/s %.2f GB/s cpu s/GB %.3f + %.3f\n", options.mode.c_str(),
              static_cast<unsigned long long>(options.bytes), options.connections,
              static_cast<unsigned long long>(options.set_bytes >> 20), rate / 1e6,
              rate * static_cast<double>(piece) / 1e9, sender_cpu / bytes * 1e9, receiver_cpu / bytes * 1e9);
  return 0;
}

int Main(int count, char** arguments) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i];
    const std::string value = arguments[i + 1];
    const auto number = [&] { return std::strtoull(value.c_str(), nullptr, 0); };
    if (name == "--mode")
      options.mode = value;
    else if (name == "--netns")
      options.netns = value;
    else if (name == "--address")
      options.address = value;
    else if (name == "--bytes")
      options.bytes = number();
    else if (name == "--set")
      options.set_bytes = number();
    else if (name == "--window-bytes")
      options.window_bytes = number();
    else if (name == "--window-messages")
      options.window_messages = number();
    else if (name == "--tile")
      options.tile_bytes = number();
    else if (name == "--connections")
      options.connections = std::atoi(value.c_str());
    else if (name == "--seconds")
      options.seconds = std::atof(value.c_str());
    else if (name == "--spin-ns")
      options.spin_ns = std::atoll(value.c_str());
    else if (name == "--io")
      options.tcp.io = value == "epoll" ? TcpConfig::Io::kEpoll : TcpConfig::Io::kIoUring;
    else if (name == "--zero-copy")
      options.tcp.zero_copy = value == "off" ? TcpConfig::ZeroCopy::kOff : TcpConfig::ZeroCopy::kAuto;
    else if (name == "--congestion")
      options.tcp.congestion_control = value;
    else {
      std::fprintf(stderr, "tcp_transport_bench: unknown option %s\n", name.c_str());
      return 2;
    }
  }
  options.set_bytes = std::max(options.set_bytes, std::min(options.bytes, options.tile_bytes));
  return Run(options);
}

}  // namespace
}  // namespace mcp::internal

int main(int count, char** arguments) { return mcp::internal::Main(count, arguments); }
