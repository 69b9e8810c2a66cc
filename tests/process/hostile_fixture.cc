#include "tests/process/hostile_fixture.h"

#include <utility>

#include "lib/wire/bytes.h"
#include "tests/support/pattern.h"

namespace mcp::internal {

uint64_t KeyOf(const RemoteRegion& remote) {
  constexpr size_t kKeyOffset = 8;  // of the serialized form
  const std::string text = remote.Serialize();
  return LoadLittleEndian<uint64_t>(reinterpret_cast<const std::byte*>(text.data()) + kKeyOffset);
}

bool HostileFixture::Open(TransportKind kind, int rails, std::chrono::milliseconds peer_timeout) {
  EngineWorld::Setup setup;
  setup.kind = kind;
  world_ = std::make_unique<EngineWorld>(setup);
  ops_.set_world(world_.get());
  engine_ = world_->MakeEngine(2);
  Engine* const own = world_->MakeEngine(1);
  if (engine_ == nullptr || own == nullptr) return false;
  witness_ = std::make_unique<Witness>(world_.get(), own, engine_);
  auto registered = engine_->Register(memory_.data(), memory_.size());
  if (!registered.ok()) return false;
  region_ = *std::move(registered);
  for (const auto& [access, key] :
       {std::pair(RemoteAccess::kReadWrite, &key_), std::pair(RemoteAccess::kRead, &read_only_key_),
        std::pair(RemoteAccess::kWrite, &write_only_key_)}) {
    const auto remote = region_.Export(access);
    if (!remote.ok()) return false;
    *key = KeyOf(*remote);
  }
  SessionOptions options;
  options.rails = rails;
  options.peer_timeout = peer_timeout;
  // Sessions that are left end with their engine, when world_ is null already.
  EngineWorld* const world = world_.get();
  auto listener = engine_->Listen("127.0.0.1:0", options, [this, world](Session session) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Visitor* visitor = visitors_.emplace_back(std::make_unique<Visitor>()).get();
    visitor->session = std::move(session);
    visitor->session.OnEnd([world, visitor](absl::Status status) {
      const std::lock_guard<std::mutex> visitor_lock(visitor->mutex);
      visitor->ended = true;
      visitor->end = std::move(status);
      world->Notify();
    });
    world->Notify();
  });
  if (!listener.ok()) return false;
  listener_ = *std::move(listener);
  return witness_->ok();
}

void HostileFixture::TearDown() {
  if (world_ == nullptr) return;
  witness_.reset();
  listener_ = Listener();
  for (const auto& visitor : visitors_) visitor->session = Session();
  region_ = Region();
  world_.reset();
}

uint64_t HostileFixture::RevokedKey() {
  auto registered = engine_->Register(memory_.data(), memory_.size());
  if (!registered.ok()) return 0;
  Region region = *std::move(registered);
  const auto remote = region.Export();
  region.Revoke();
  return remote.ok() ? KeyOf(*remote) : 0;
}

size_t HostileFixture::visitors() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return visitors_.size();
}

HostileFixture::Visitor* HostileFixture::AwaitVisitor(size_t count) {
  if (!world_->Drive([&] { return visitors() >= count; })) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex_);
  return visitors_.back().get();
}

absl::Status HostileFixture::AwaitEnd(Visitor* visitor) {
  const auto ended = [visitor] {
    const std::lock_guard<std::mutex> lock(visitor->mutex);
    return visitor->ended;
  };
  if (!world_->Drive(ended)) return absl::DeadlineExceededError("the session did not end");
  const std::lock_guard<std::mutex> lock(visitor->mutex);
  return visitor->end;
}

void HostileFixture::ExpectNoHarm() {
  EXPECT_EQ(memory_.Touched(), "");
  EXPECT_EQ(ValueMismatch(memory_.bytes(), kUntouched), "");
  EXPECT_TRUE(witness_->Goes()) << witness_->problem();
}

}  // namespace mcp::internal
