#include <cstdio>
#include <cstring>
#include <future>

#include "mcp/engine.h"

int main() {
  // Over RDMA where a device has the address, else over TCP.
  auto engine = mcp::Engine::Create({.address = "127.0.0.1"});
  if (!engine.ok()) return 1;

  // Somebody to talk to: usually on another host.
  std::promise<mcp::Session> accepted;
  auto listener = (*engine)->Listen("127.0.0.1:0", {}, [&](mcp::Session s) { accepted.set_value(std::move(s)); });
  if (!listener.ok()) return 1;
  auto session = (*engine)->Connect(listener->address());
  if (!session.ok()) return 1;
  mcp::Session peer = accepted.get_future().get();

  // Registered memory on both sides, 64 MiB each. The peer exports its own; the key travels as bytes, by any means.
  auto gradients = (*engine)->Allocate(64 << 20);
  auto parameters = (*engine)->Allocate(64 << 20);
  if (!gradients.ok() || !parameters.ok()) return 1;
  std::memset(gradients->data(), 7, gradients->size());
  auto exported = parameters->Export(mcp::RemoteAccess::kWrite);
  if (!exported.ok()) return 1;
  auto remote = mcp::RemoteRegion::Parse(exported->Serialize());
  if (!remote.ok()) return 1;

  // One-sided: completes when the peer has every byte in place, verified.
  std::promise<mcp::Result> written;
  auto put = session->Put(gradients->All(), *remote, 0, [&](mcp::Result r) { written.set_value(std::move(r)); });
  if (!put.ok()) return 1;

  // Two-sided: the tag 42 meets the receive that waits for it.
  std::promise<mcp::Result> received;
  auto receive = peer.Receive(42, parameters->Part(0, 1024), [&](mcp::Result r) { received.set_value(std::move(r)); });
  auto send = session->Send(42, gradients->Part(0, 1024), [](mcp::Result) {});
  if (!receive.ok() || !send.ok()) return 1;

  const mcp::Result put_result = written.get_future().get();
  const mcp::Result message = received.get_future().get();
  std::printf("put: %s, %llu bytes; message: %llu bytes with tag %llu\n", put_result.status.ToString().c_str(),
              static_cast<unsigned long long>(put_result.bytes), static_cast<unsigned long long>(message.bytes),
              static_cast<unsigned long long>(message.tag));
  return put_result.status.ok() && message.status.ok() ? 0 : 1;
}
