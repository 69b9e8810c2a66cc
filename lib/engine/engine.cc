// include/mcp/engine.h: Engine and Listener.
#include "mcp/engine.h"

#include <utility>

#include "lib/engine/engine_impl.h"

namespace mcp {
namespace internal {

class ListenerImpl {
 public:
  ListenerImpl(EngineImpl& engine, std::string address) : engine_(engine), address_(std::move(address)) {}
  ~ListenerImpl() { engine_.StopListening(address_); }

  const std::string& address() const { return address_; }

 private:
  EngineImpl& engine_;
  const std::string address_;
};

}  // namespace internal

Listener::Listener() = default;
Listener::Listener(std::shared_ptr<internal::ListenerImpl> impl) : impl_(std::move(impl)) {}
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;
Listener::~Listener() = default;

std::string Listener::address() const { return impl_ == nullptr ? std::string() : impl_->address(); }

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  return internal::EngineImpl::Create(options, {});
}

Engine::Engine(std::unique_ptr<internal::EngineImpl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::StatusOr<Region> Engine::Register(void* data, uint64_t size, const RegionOptions& options) {
  return impl_->Register(data, size, options);
}

absl::StatusOr<Region> Engine::Allocate(uint64_t size, const RegionOptions& options) {
  return impl_->Allocate(size, options);
}

absl::StatusOr<Session> Engine::Connect(absl::string_view address, const SessionOptions& options) {
  absl::StatusOr<std::shared_ptr<internal::SessionImpl>> session = impl_->Connect(address, options);
  if (!session.ok()) return session.status();
  return Session(*std::move(session));
}

void Engine::ConnectAsync(absl::string_view address, const SessionOptions& options, ConnectCallback callback) {
  impl_->ConnectAsync(
      address, options,
      [callback = std::move(callback)](absl::StatusOr<std::shared_ptr<internal::SessionImpl>> session) mutable {
        if (!session.ok()) return std::move(callback)(session.status());
        std::move(callback)(Session(*std::move(session)));
      });
}

absl::StatusOr<Listener> Engine::Listen(absl::string_view address, const SessionOptions& options,
                                        AcceptCallback callback) {
  absl::StatusOr<std::string> bound = impl_->Listen(address, options, std::move(callback));
  if (!bound.ok()) return bound.status();
  return Listener(std::make_shared<internal::ListenerImpl>(*impl_, *std::move(bound)));
}

size_t Engine::Progress() { return impl_->Progress(); }
void Engine::Wait(std::chrono::microseconds timeout) { impl_->Wait(timeout); }
void Engine::SetTraining(const TrainingContext& training) { impl_->SetTraining(training); }
absl::StatusOr<std::vector<std::string>> Engine::Decisions() { return impl_->Decisions(); }
std::vector<Fallback> Engine::Fallbacks() const { return impl_->Fallbacks(); }
std::string Engine::MetricsText() const { return impl_->MetricsText(); }

absl::string_view Version() { return MCP_VERSION; }

}  // namespace mcp
