// A program outside the tree: two engines in one process put bytes from one to the other.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <future>
#include <memory>
#include <utility>

#include "mcp/engine.h"

namespace {

constexpr uint64_t kSize = 1 << 20;

int Fail(const char* what, const absl::Status& status) {
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  return 1;
}

int Run() {
  mcp::EngineOptions options;
  options.address = "127.0.0.1";
  auto server = mcp::Engine::Create(options);
  auto client = mcp::Engine::Create(options);
  if (!server.ok()) return Fail("create the server's engine", server.status());
  if (!client.ok()) return Fail("create the client's engine", client.status());

  auto target = (*server)->Allocate(kSize);
  auto source = (*client)->Allocate(kSize);
  if (!target.ok()) return Fail("allocate the target", target.status());
  if (!source.ok()) return Fail("allocate the source", source.status());
  std::memset(target->data(), 0, kSize);
  std::memset(source->data(), 0x5a, kSize);
  auto remote = target->Export(mcp::RemoteAccess::kWrite);
  if (!remote.ok()) return Fail("export the target", remote.status());

  std::promise<mcp::Session> accepted;
  auto listener = (*server)->Listen("127.0.0.1:0", {},
                                    [&accepted](mcp::Session session) { accepted.set_value(std::move(session)); });
  if (!listener.ok()) return Fail("listen", listener.status());
  auto session = (*client)->Connect(listener->address());
  if (!session.ok()) return Fail("connect", session.status());
  const mcp::Session peer = accepted.get_future().get();

  std::promise<mcp::Result> put;
  const auto operation =
      session->Put(source->All(), *remote, 0, [&put](mcp::Result result) { put.set_value(std::move(result)); });
  if (!operation.ok()) return Fail("put", operation.status());
  const mcp::Result result = put.get_future().get();
  if (!result.status.ok()) return Fail("put", result.status);
  if (std::memcmp(source->data(), target->data(), kSize) != 0)
    return Fail("verify", absl::DataLossError("bytes differ"));

  std::printf("mcp %s moved %llu bytes\n", std::string(mcp::Version()).c_str(),
              static_cast<unsigned long long>(result.bytes));
  return 0;
}

}  // namespace

int main() { return Run(); }
