// Windows for one operation each (docs/decisions/010-windows.md). Budget of an operation: two work requests, a bind
// before its grant leaves and an empty bind when it is over; the second asks for a completion, which the operation
// waits for.
//
// A window is of type 1: any queue pair of the domain may bind it, and any may be written through. So one serves all
// rails of a session and outlives the connection that bound it. Where that cannot be (no windows, several devices, no
// connection at the moment, a full send queue), the operation gets a registration of its own, which is slow and as
// tight.
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/memory/region_table.h"
#include "transports/verbs/device.h"

namespace mcp::internal {
namespace {

// The low bits of a name say where the window stands.
constexpr uint32_t kWindowBits = 16;
constexpr size_t kWindowsMax = size_t{1} << kWindowBits;
// A key has eight bits that change with each bind: before they have all been used, the window gets another key.
constexpr uint32_t kBindsMax = 240;

}  // namespace

VerbsTransport::OperationWindow* VerbsTransport::WindowOf(uint64_t name) {
  const size_t place = name % kWindowsMax;
  return place < windows_.size() && windows_[place].name == name ? &windows_[place] : nullptr;
}

absl::StatusOr<PeerWindows::Opened> VerbsTransport::Open(std::optional<ConnectionId> id,
                                                         const DeviceMemory::Grant& region, absl::Span<std::byte> range,
                                                         void* context) {
  if (free_windows_.empty()) {
    if (windows_.size() == kWindowsMax) {
      return absl::ResourceExhaustedError(absl::StrCat("verbs: ", kWindowsMax, " operations with windows on one lane"));
    }
    windows_.emplace_back();
    free_windows_.push_back(static_cast<uint32_t>(windows_.size() - 1));
  }
  // The one that has been closed for longest: a key that somebody kept is of no use for as long as can be.
  const uint32_t place = free_windows_.front();
  OperationWindow& window = windows_[place];
  Opened opened;
  opened.name = (windows_opened_ + 1) << kWindowBits | place;
  VerbsConnection* const connection = id.has_value() ? Find(*id) : nullptr;
  if (connection != nullptr && network_->binds_windows()) {
    window.memory = static_cast<const VerbsGrant&>(region).region(0);
    window.range = range;
    if (BindFor(*connection, window, opened.name)) {
      opened.window.address = reinterpret_cast<uint64_t>(range.data());
      opened.window.set_rkey(0, window.window->rkey);
    }
  }
  if (opened.window.address == 0) {
    MCP_ASSIGN_OR_RETURN(window.registration, network_->memory()->Export(region.Part(range), kAccessRemoteWrite));
    opened.window = window.registration->window();
  }
  free_windows_.pop_front();
  window.context = context;
  window.name = opened.name;
  ++windows_opened_;
  return opened;
}

// To the range that it is for. The request tells, if it is flushed.
bool VerbsTransport::BindFor(VerbsConnection& connection, OperationWindow& window, uint64_t name) {
  if (!Bind(connection, window, window.range)) return false;
  window.owner = connection.context;
  window.bound_by = connection.id;
  window.generation = connection.generation;
  PostedWork& posted = connection.sends.At(connection.sends.posted() - 1);
  posted.window = name;
  posted.binds = true;
  return true;
}

// The device has not done it: the library's count of keys, which ran ahead of it, goes back by one, as rdma-core's
// drivers leave to whoever sees the error. The next bind then gives the key that the peer was told, or will be.
void VerbsTransport::OnBindFlushed(uint64_t name) {
  OperationWindow* const window = WindowOf(name);
  if (window == nullptr || window->window == nullptr || window->lost) return;
  uint32_t& key = window->window->rkey;
  key = (key & ~0xffu) | ((key - 1) & 0xffu);
  window->lost = true;
  ++windows_lost_;
}

// Before anything else leaves on a new connection, as the grant may be among what is posted again.
void VerbsTransport::BindLostWindows(VerbsConnection& connection) {
  for (OperationWindow& window : windows_) {
    if (windows_lost_ == 0) return;
    if (!window.lost || window.closing || window.owner != connection.context) continue;
    if (!BindFor(connection, window, window.name)) continue;
    window.lost = false;
    --windows_lost_;
  }
}

// An empty range unbinds. False: not now.
bool VerbsTransport::Bind(VerbsConnection& connection, OperationWindow& window, absl::Span<std::byte> range) {
  if (connection.state != State::kOpen || connection.sends.room() <= kSendQueueReserve) return false;
  if (window.window == nullptr) {
    absl::StatusOr<ibv_mw*> made = calls().AllocateWindow(connection.device->domain);
    if (!made.ok()) {
      network_->logger().LogOnce(LogLevel::kWarning, "verbs ", connection.device->opened.name, ": ",
                                 made.status().message(), ": operations get registrations of their own instead");
      return false;
    }
    window.window = *made;
    window.binds = 0;
  }
  ibv_mw_bind bind = {};
  bind.wr_id = SendWorkId(connection, connection.sends.posted());
  bind.bind_info.mr = window.memory;  // to unbind, too: rxe's library (rdma-core 44) looks at it
  bind.bind_info.addr = reinterpret_cast<uint64_t>(range.data());
  bind.bind_info.length = range.size();
  bind.bind_info.mw_access_flags = range.empty() ? 0 : IBV_ACCESS_REMOTE_WRITE;
  const bool asks = range.empty() || connection.unsignaled + 1 >= kUnsignaledMax;
  if (asks) bind.send_flags = IBV_SEND_SIGNALED;
  if (ibv_bind_mw(connection.qp, window.window, &bind) != 0) return false;
  connection.sends.Add();
  connection.unsignaled = asks ? 0 : connection.unsignaled + 1;
  if (asks) connection.unsignaled_staged = 0;
  if (asks) connection.holds_unseen = false;
  ++window.binds;
  return true;
}

bool VerbsTransport::Close(uint64_t name) {
  OperationWindow* const window = WindowOf(name);
  if (window == nullptr) return true;
  VerbsConnection* const connection = Find(window->bound_by);
  const bool there = window->registration == nullptr && !window->lost && connection != nullptr &&
                     connection->generation == window->generation && connection->qp != nullptr;
  if (there && window->closing) return false;
  if (there && Bind(*connection, *window, {})) {
    window->closing = true;
    connection->sends.At(connection->sends.posted() - 1).window = name;
    return false;
  }
  Release(*window, false);
  return true;
}

// The request that was to close it is done, or never will be.
void VerbsTransport::OnUnbound(uint64_t name, bool done) {
  OperationWindow* const window = WindowOf(name);
  if (window == nullptr) return;
  sent_.push_back({Event::Kind::kWindowClosed, window->bound_by, window->context, name});
  Release(*window, done);
}

// Free for another operation. What is still bound goes by a system call, as does a window whose keys are used up.
void VerbsTransport::Release(OperationWindow& window, bool unbound) {
  window.registration.reset();
  if (std::exchange(window.lost, false)) --windows_lost_;
  if (window.window != nullptr && (!unbound || window.binds >= kBindsMax)) {
    calls().FreeWindow(std::exchange(window.window, nullptr));
  }
  free_windows_.push_back(static_cast<uint32_t>(std::exchange(window.name, 0) % kWindowsMax));
  window.closing = false;
}

void VerbsTransport::FreeWindows() {
  for (OperationWindow& window : windows_) {
    window.registration.reset();
    if (window.window != nullptr) calls().FreeWindow(std::exchange(window.window, nullptr));
  }
}

}  // namespace mcp::internal
