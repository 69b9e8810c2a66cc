#include "tools/mcp_perf/server.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mcp/engine.h"
#include "tools/mcp_perf/address.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/sizes.h"
#include "tools/mcp_perf/status_macros.h"
#include "tools/mcp_perf/target.h"

namespace mcp::perf {
namespace {

// Clients that wait for their turn; further ones are refused.
constexpr size_t kQueueMax = 16;
constexpr std::chrono::seconds kHelloTimeout{10};
// Between two measurements, where the client fills no buffers.
constexpr std::chrono::seconds kIdleTimeout{120};

// Clients that have connected. The accept callback, on a lane, fills it.
struct Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<ControlChannel>> clients;
  bool busy = false;
};

class Server {
 public:
  explicit Server(const Options& options) : options_(options) {}

  int Run(int ready_fd);

 private:
  absl::Status Listen();
  void OnAccept(Session session);
  std::unique_ptr<ControlChannel> NextClient();
  absl::Status Serve(ControlChannel& client);
  absl::Status ServeTest(ControlChannel& client, const Json& message);
  void Say(const std::string& text) const;

  const Options& options_;
  std::unique_ptr<Engine> engine_;
  Listening listening_;
  Queue queue_;
};

absl::Status Server::Listen() {
  EngineOptions options;
  options.lanes = 1;
  options.lane_spin = std::chrono::microseconds(0);
  options.transports = {"tcp"};
  MCP_PERF_ASSIGN_OR_RETURN(engine_, Engine::Create(options));
  SessionOptions session;
  session.rails = 1;
  MCP_PERF_ASSIGN_OR_RETURN(listening_, ListenOn(*engine_, options_.bind, options_.port.value_or(kDefaultPort), session,
                                                 [this](Session accepted) { OnAccept(std::move(accepted)); }));
  return absl::OkStatus();
}

int Server::Run(int ready_fd) {
  if (const absl::Status status = Listen(); !status.ok()) {
    std::fprintf(stderr, "mcp-perf: %s\n", std::string(status.message()).c_str());
    return kExitTestFailed;
  }
  if (ready_fd >= 0) {
    const std::string port = absl::StrCat(listening_.port, "\n");
    if (write(ready_fd, port.data(), port.size()) < 0) return kExitTestFailed;
    close(ready_fd);
  }
  for (const Listener& listener : listening_.listeners) Say(absl::StrCat("listening on ", listener.address()));
  while (std::unique_ptr<ControlChannel> client = NextClient()) {
    const std::string peer = client->peer();
    const absl::Status status = Serve(*client);
    // The other side ends first where both end in order: it has had all its answers.
    client.reset();
    if (!status.ok() && !Interrupted()) {
      std::fprintf(stderr, "mcp-perf: client %s: %s\n", peer.c_str(), std::string(status.message()).c_str());
    } else if (status.ok()) {
      Say(absl::StrCat("client ", peer, ": done"));
    }
    if (options_.once) break;
  }
  listening_.listeners.clear();
  std::deque<std::unique_ptr<ControlChannel>> left;
  {
    const std::lock_guard lock(queue_.mutex);
    left.swap(queue_.clients);
  }
  return kExitOk;  // `left` goes without the mutex: a channel's end waits for a lane
}

void Server::Say(const std::string& text) const {
  if (options_.quiet) return;
  std::printf("mcp-perf: %s\n", text.c_str());
  std::fflush(stdout);
}

void Server::OnAccept(Session session) {
  {
    const std::lock_guard lock(queue_.mutex);
    if (queue_.clients.size() >= kQueueMax) return;  // refuses it
  }
  absl::StatusOr<std::unique_ptr<ControlChannel>> client = ControlChannel::Create(engine_.get(), std::move(session));
  if (!client.ok()) return;
  const std::lock_guard lock(queue_.mutex);
  if (queue_.busy || !queue_.clients.empty()) (*client)->Notice({{"type", "queued"}});
  queue_.clients.push_back(*std::move(client));
  queue_.changed.notify_all();
}

std::unique_ptr<ControlChannel> Server::NextClient() {
  std::unique_lock lock(queue_.mutex);
  queue_.busy = false;
  while (!Interrupted()) {
    if (!queue_.changed.wait_for(lock, kInterruptPoll, [this] { return !queue_.clients.empty(); })) continue;
    std::unique_ptr<ControlChannel> client = std::move(queue_.clients.front());
    queue_.clients.pop_front();
    if (client->alive()) {
      queue_.busy = true;
      return client;
    }
    // It left while it waited. Destroying a channel waits for a lane, which may want the queue.
    lock.unlock();
    client.reset();
    lock.lock();
  }
  return nullptr;
}

absl::Status Server::Serve(ControlChannel& client) {
  MCP_PERF_ASSIGN_OR_RETURN(const Json hello, client.Receive(kHelloTimeout));
  const absl::StatusOr<HostInfo> peer = DecodeHello(hello);
  // Also where the versions differ, so that the other side can say so in its own words.
  MCP_PERF_RETURN_IF_ERROR(client.Send(EncodeHello(DescribeHost())));
  MCP_PERF_RETURN_IF_ERROR(peer.status());
  Say(absl::StrCat("client ", client.peer(), ": ", peer->host));
  for (;;) {
    MCP_PERF_ASSIGN_OR_RETURN(const Json message, client.Receive(kIdleTimeout));
    if (MessageType(message) == "goodbye") return absl::OkStatus();
    MCP_PERF_RETURN_IF_ERROR(ServeTest(client, message));
  }
}

absl::Status Server::ServeTest(ControlChannel& client, const Json& message) {
  MCP_PERF_RETURN_IF_ERROR(ExpectType(message, "prepare"));
  const absl::StatusOr<TestSpec> spec = DecodeSpec(message);
  if (!spec.ok()) {
    MCP_PERF_RETURN_IF_ERROR(client.Send(ErrorMessage(spec.status())));
    return spec.status();
  }
  Say(absl::StrCat("client ", client.peer(), ": ", spec->test.name, " of ", FormatSize(spec->layout.size)));
  const uint16_t next_port = static_cast<uint16_t>(listening_.port == 65535 ? 0 : listening_.port + 1);
  absl::StatusOr<std::unique_ptr<Target>> target =
      Target::Create(*spec, options_.bind, next_port, &client, VerbsOf(options_));
  if (!target.ok()) return client.Send(ErrorMessage(target.status()));
  return (*target)->Serve();
}

}  // namespace

int RunServer(const Options& options, int ready_fd) { return Server(options).Run(ready_fd); }

}  // namespace mcp::perf
