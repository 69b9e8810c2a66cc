#include "tests/process/busy_peer.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "tests/process/child.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kSmallTag = 1;
constexpr uint64_t kLargeTag = 2;
constexpr uint64_t kSmallBytes = 700;
constexpr std::chrono::seconds kPatience{60};

}  // namespace

BusyTraffic::BusyTraffic(Session* session, Region* region, std::function<void()> progress)
    : session_(session), region_(region), progress_(std::move(progress)) {}

void BusyTraffic::Start(const RemoteRegion& remote) {
  remote_ = remote;
  for (const Kind kind :
       {Kind::kReceiveSmall, Kind::kReceiveLarge, Kind::kPut, Kind::kGet, Kind::kSendSmall, Kind::kSendLarge}) {
    Post(kind);
  }
}

void BusyTraffic::Post(Kind kind) {
  open_.fetch_add(1);
  Completion again = [this, kind](Result result) {
    (result.status.ok() ? completed_ : failed_).fetch_add(1);
    if (result.status.ok()) Post(kind);
    progress_();
    open_.fetch_sub(1);  // last: this may be gone then
  };
  absl::Status posted;
  switch (kind) {
    case Kind::kPut:
      posted = session_->Put(region_->Part(0, kPieceBytes), remote_, kPutOffset, std::move(again)).status();
      break;
    case Kind::kGet:
      posted = session_->Get(region_->Part(kPieceBytes, kPieceBytes), remote_, 0, std::move(again)).status();
      break;
    case Kind::kSendSmall:
      posted = session_->Send(kSmallTag, region_->Part(0, kSmallBytes), std::move(again)).status();
      break;
    case Kind::kSendLarge:
      posted = session_->Send(kLargeTag, region_->Part(0, kPieceBytes), std::move(again)).status();
      break;
    case Kind::kReceiveSmall:
      posted = session_->Receive(kSmallTag, region_->Part(2 * kPieceBytes, kPieceBytes), std::move(again)).status();
      break;
    case Kind::kReceiveLarge:
      posted = session_->Receive(kLargeTag, region_->Part(3 * kPieceBytes, kPieceBytes), std::move(again)).status();
      break;
  }
  if (!posted.ok()) open_.fetch_sub(1);
}

namespace {

int Fail(const char* what, const absl::Status& status) {
  std::printf("%s: %s\n", what, status.ToString().c_str());
  std::fflush(stdout);
  return 1;
}

TcpOptions::Io IoNamed(const char* name) {
  return std::strcmp(name, "epoll") == 0 ? TcpOptions::Io::kEpoll : TcpOptions::Io::kIoUring;
}

// busy ADDRESS IO REMOTE_REGION PEER_TIMEOUT_MS: is busy until the session ends, then says why it did.
int RunBusy(char** argv) {
  EngineOptions options;
  options.lanes = 1;
  options.transports = {"tcp"};
  options.tcp.io = IoNamed(argv[2]);
  auto engine = Engine::Create(options);
  if (!engine.ok()) return Fail("engine", engine.status());
  const auto remote = RemoteRegion::Parse(absl::HexStringToBytes(argv[3]));
  if (!remote.ok()) return Fail("remote region", remote.status());
  SessionOptions session_options;
  session_options.peer_timeout = std::chrono::milliseconds(std::atoi(argv[4]));
  auto region = (*engine)->Allocate(BusyTraffic::kRegionBytes);
  if (!region.ok()) return Fail("allocate", region.status());
  auto session = (*engine)->Connect(argv[1], session_options);
  if (!session.ok()) return Fail("connect", session.status());
  const auto own = region->Export();
  if (!own.ok()) return Fail("export", own.status());
  auto greeting = (*engine)->Allocate(RemoteRegion::kSerializedBytesMax);
  if (!greeting.ok()) return Fail("allocate", greeting.status());
  const std::string text = own->Serialize();
  std::memcpy(greeting->data(), text.data(), text.size());
  std::promise<absl::Status> ended;
  std::future<absl::Status> why = ended.get_future();
  session->OnEnd([&](absl::Status status) { ended.set_value(std::move(status)); });
  BusyTraffic traffic(&*session, &*region, [] {});
  const auto sent = session->Send(kGreetingTag, greeting->Part(0, text.size()), [](Result) {});
  if (!sent.ok()) return Fail("greeting", sent.status());
  traffic.Start(*remote);
  if (why.wait_for(kPatience) != std::future_status::ready) {
    return Fail("the session", absl::DeadlineExceededError("lives"));
  }
  std::printf("ended %s\n", why.get().ToString().c_str());
  std::fflush(stdout);
  return 0;
}

// Makes io_uring_setup fail with this errno from now on, in every thread to come.
bool RefuseIoUring(unsigned error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Both ends in this process: puts a pattern and gets it back.
absl::Status MoveVerifiedBytes(Engine& engine, std::string* device) {
  constexpr uint64_t kBytes = 3 << 20;
  std::promise<Session> accepted;
  std::future<Session> server = accepted.get_future();
  auto listener = engine.Listen("127.0.0.1:0", {}, [&](Session session) { accepted.set_value(std::move(session)); });
  if (!listener.ok()) return listener.status();
  auto session = engine.Connect(listener->address());
  if (!session.ok()) return session.status();
  if (server.wait_for(kPatience) != std::future_status::ready) return absl::DeadlineExceededError("not accepted");
  auto region = engine.Allocate(3 * kBytes);
  if (!region.ok()) return region.status();
  const auto remote = region->Export();
  if (!remote.ok()) return remote.status();
  FillPattern({region->data(), kBytes}, 11);
  for (const bool get : {false, true}) {
    std::promise<absl::Status> completed;
    std::future<absl::Status> outcome = completed.get_future();
    Completion completion = [&](Result result) { completed.set_value(result.status); };
    const auto started = get ? session->Get(region->Part(2 * kBytes, kBytes), *remote, kBytes, std::move(completion))
                             : session->Put(region->Part(0, kBytes), *remote, kBytes, std::move(completion));
    if (!started.ok()) return started.status();
    if (outcome.wait_for(kPatience) != std::future_status::ready) return absl::DeadlineExceededError("not completed");
    if (absl::Status status = outcome.get(); !status.ok()) return status;
  }
  const std::string wrong = PatternMismatch({region->data() + 2 * kBytes, kBytes}, 11);
  if (!wrong.empty()) return absl::DataLossError(wrong);
  *device = session->Describe().rails.at(0).device;
  return absl::OkStatus();
}

// refused-io-uring ERRNO: says what an engine makes of that.
int RunRefusedIoUring(char** argv) {
  unsigned error = 0;
  if (!absl::SimpleAtoi(argv[1], &error) || !RefuseIoUring(error)) {
    std::printf("skip: no seccomp filter can be set here\n");
    return 0;
  }
  EngineOptions options;
  options.transports = {"tcp"};
  options.tcp.io = TcpOptions::Io::kIoUring;
  std::printf("insisting: %s\n", Engine::Create(options).status().ToString().c_str());
  options.tcp.io = TcpOptions::Io::kAuto;
  auto engine = Engine::Create(options);
  if (!engine.ok()) return Fail("engine", engine.status());
  for (const Fallback& fallback : (*engine)->Fallbacks()) {
    std::printf("fallback: %s in place of %s: %s\n", fallback.used.c_str(), fallback.wanted.c_str(),
                fallback.reason.c_str());
  }
  std::string device;
  const absl::Status moved = MoveVerifiedBytes(**engine, &device);
  if (!moved.ok()) return Fail("verified bytes", moved);
  std::printf("moved by %s\n", device.c_str());
  return 0;
}

}  // namespace

int RunPeer(int argc, char** argv) {
  const std::string role = argv[0];
  if (role == "busy" && argc == 5) return RunBusy(argv);
  if (role == "refused-io-uring" && argc == 2) return RunRefusedIoUring(argv);
  std::fprintf(stderr, "--peer %s: no such role with %d arguments\n", role.c_str(), argc - 1);
  return 2;
}

}  // namespace mcp::internal
