#include "perf/micro/no_cost_device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "lib/base/clock.h"
#include "lib/engine/engine_impl.h"
#include "tests/support/fake_verbs_objects.h"
#include "tests/support/verbs_kind.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kTag = 1;
constexpr int kReceiveDepth = 256;

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

template <class T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

class NoCostProvider final : public TransportProvider {
 public:
  explicit NoCostProvider(std::shared_ptr<VerbsNetwork> network) : network_(std::move(network)) {}

  absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable*, Clock* clock, uint32_t lane) override {
    return MakeVerbsTransport(network_, clock, lane);
  }
  absl::StatusOr<std::string> Resolve(absl::string_view address) override { return std::string(address); }
  std::vector<TransportFallback> Fallbacks() const override { return {}; }
  DeviceMemory* device_memory() override { return network_->memory(); }

 private:
  const std::shared_ptr<VerbsNetwork> network_;
};

}  // namespace

struct NoCostSession::Side {
  static VerbsConfig Config(const Settings& settings) {
    VerbsConfig config;
    config.protect_operations = settings.protect;
    return config;
  }
  Side(const std::shared_ptr<FakeFabric>& fabric, const Settings& settings)
      : provider(Must(MakeVerbsNetwork(fabric, &logger, Config(settings)))) {
    EngineOptions options;
    options.lanes = 0;
    EngineDependencies dependencies;
    dependencies.logger = &logger;
    dependencies.provider = &provider;
    engine = Must(EngineImpl::Create(options, dependencies));
    memory = Must(engine->Allocate(settings.size * static_cast<uint64_t>(settings.batch)));
  }
  ~Side() {
    session = Session();
    memory = Region();
  }

  Logger logger{LogLevel::kError, [](LogLevel, absl::string_view line) {
                  std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
                }};
  NoCostProvider provider;
  std::unique_ptr<Engine> engine;
  Region memory;
  Session session;
};

NoCostSession::NoCostSession(const Settings& settings)
    : settings_(settings),
      fabric_(MakeNoCostFabric()),
      near_(std::make_unique<Side>(fabric_, settings)),
      far_(std::make_unique<Side>(fabric_, settings)) {
  SessionOptions options;
  options.rails = 1;
  options.checksum = settings.checksum;
  listener_ = Must(
      far_->engine->Listen("127.0.0.1:0", options, [this](Session session) { far_->session = std::move(session); }));
  near_->engine->ConnectAsync(listener_.address(), options,
                              [this](absl::StatusOr<Session> session) { near_->session = Must(std::move(session)); });
  while (!near_->session.valid() || !far_->session.valid()) {
    near_->engine->Progress();
    far_->engine->Progress();
  }
  remote_ = Must(far_->memory.Export());
  for (uint64_t i = 0; i < static_cast<uint64_t>(settings.batch); ++i) {
    near_slices_.push_back(near_->memory.Part(i * settings.size, settings.size));
    far_slices_.push_back(far_->memory.Part(i * settings.size, settings.size));
  }
}

NoCostSession::~NoCostSession() {
  near_->session = Session();
  far_->session = Session();
  // Both ends hear of it before either engine goes.
  for (int i = 0; i < 1000; ++i) {
    near_->engine->Progress();
    far_->engine->Progress();
  }
  listener_ = Listener();
}

void NoCostSession::Count(const Result& result) {
  if (!result.status.ok()) Die(result.status);
  ++completed_;
}

void NoCostSession::Finish(int operations) {
  while (completed_ < operations) near_->engine->Progress();
  completed_ = 0;
}

void NoCostSession::PutBatch() {
  for (int i = 0; i < settings_.batch; ++i) {
    const Slice& slice = near_slices_[i];
    const auto posted =
        near_->session.Put(slice, remote_, slice.offset, [this](const Result& result) { Count(result); });
    if (!posted.ok()) Die(posted.status());
  }
  Finish(settings_.batch);
}

void NoCostSession::PutNext() {
  const auto posted = near_->session.Put(near_slices_[0], remote_, 0, [this](const Result& result) {
    Count(result);
    if (completed_ < settings_.batch) PutNext();
  });
  if (!posted.ok()) Die(posted.status());
}

void NoCostSession::PutChain() {
  PutNext();
  Finish(settings_.batch);
}

void NoCostSession::GetBatch() {
  for (int i = 0; i < settings_.batch; ++i) {
    const Slice& slice = near_slices_[i];
    const auto posted =
        near_->session.Get(slice, remote_, slice.offset, [this](const Result& result) { Count(result); });
    if (!posted.ok()) Die(posted.status());
  }
  Finish(settings_.batch);
}

void NoCostSession::SendBatch() {
  const auto done = [this](const Result& result) { Count(result); };
  for (int i = 0; i < settings_.batch; ++i) {
    const auto received = far_->session.Receive(kTag, far_slices_[i], done);
    const auto sent = near_->session.Send(kTag, near_slices_[i], done);
    if (!received.ok() || !sent.ok()) Die(received.ok() ? sent.status() : received.status());
  }
  while (completed_ < 2 * settings_.batch) {
    near_->engine->Progress();
    far_->engine->Progress();
  }
  completed_ = 0;
}

BareQueuePairs::BareQueuePairs(uint64_t size, int batch)
    : size_(size), fabric_(MakeNoCostFabric()), entries_(batch), works_(batch), receives_(kReceiveDepth) {
  for (Side* side : {&near_, &far_}) Open(side, size * static_cast<uint64_t>(std::max(batch, kReceiveDepth)));
  FakeOf<FakeQueuePair>(near_.qp)->peer = far_.qp->qp_num;
  FakeOf<FakeQueuePair>(far_.qp)->peer = near_.qp->qp_num;
  for (size_t i = 0; i < works_.size(); ++i) {
    entries_[i] = {reinterpret_cast<uint64_t>(near_.bytes.data() + i * size), static_cast<uint32_t>(size),
                   near_.region->lkey};
    works_[i] = ibv_send_wr();
    works_[i].wr_id = i;
    works_[i].next = i + 1 < works_.size() ? &works_[i + 1] : nullptr;
    works_[i].sg_list = &entries_[i];
    works_[i].num_sge = 1;
    works_[i].send_flags = i + 1 < works_.size() ? 0 : IBV_SEND_SIGNALED;
    works_[i].wr.rdma.remote_addr = reinterpret_cast<uint64_t>(far_.bytes.data() + i * size);
    works_[i].wr.rdma.rkey = far_.region->rkey;
  }
  PostReceives(kReceiveDepth);
}

BareQueuePairs::~BareQueuePairs() {
  for (Side* side : {&near_, &far_}) Close(side);
}

void BareQueuePairs::Open(Side* side, uint64_t bytes) {
  side->calls = FakeVerbsCalls(fabric_);
  ibv_context* context = Must(side->calls->OpenDevices()).front().context;
  side->domain = Must(side->calls->AllocateDomain(context));
  side->channel = Must(side->calls->CreateCompletionChannel(context));
  side->sends = Must(side->calls->CreateCompletionQueue(context, kReceiveDepth, side->channel));
  side->receives = Must(side->calls->CreateCompletionQueue(context, kReceiveDepth, side->channel));
  side->shared = Must(side->calls->CreateSharedReceiveQueue(side->domain, kReceiveDepth));
  ibv_qp_init_attr attributes = {};
  attributes.send_cq = side->sends;
  attributes.recv_cq = side->receives;
  attributes.srq = side->shared;
  attributes.qp_type = IBV_QPT_RC;
  attributes.cap.max_send_wr = kReceiveDepth;
  side->qp = Must(side->calls->CreateQueuePair(side->domain, &attributes));
  side->qp->state = IBV_QPS_RTS;
  side->bytes.resize(bytes);
  side->region =
      Must(side->calls->RegisterMemory(side->domain, side->bytes.data(), bytes,
                                       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ));
}

void BareQueuePairs::Close(Side* side) {
  side->calls->DestroyQueuePair(side->qp);
  side->calls->DestroySharedReceiveQueue(side->shared);
  side->calls->DestroyCompletionQueue(side->receives);
  side->calls->DestroyCompletionQueue(side->sends);
  side->calls->DestroyCompletionChannel(side->channel);
  side->calls->DeregisterMemory(side->region);
  side->calls->FreeDomain(side->domain);
}

void BareQueuePairs::Batch(ibv_wr_opcode opcode) {
  for (ibv_send_wr& work : works_) work.opcode = opcode;
  ibv_send_wr* refused = nullptr;
  if (ibv_post_send(near_.qp, works_.data(), &refused) != 0) std::abort();
  ibv_wc completion;
  while (ibv_poll_cq(near_.sends, 1, &completion) == 0) {
  }
  if (completion.status != IBV_WC_SUCCESS) std::abort();
}

void BareQueuePairs::SendBatch() {
  Batch(IBV_WR_SEND);
  ibv_wc completions[kReceiveDepth];
  const int count = ibv_poll_cq(far_.receives, kReceiveDepth, completions);
  if (count != static_cast<int>(works_.size())) std::abort();
  PostReceives(count);
}

void BareQueuePairs::PostReceives(int count) {
  // One buffer serves all: what comes is not looked at.
  static thread_local ibv_sge entry;
  entry = {reinterpret_cast<uint64_t>(far_.bytes.data()), static_cast<uint32_t>(size_), far_.region->lkey};
  for (int i = 0; i < count; ++i) {
    receives_[i] = {static_cast<uint64_t>(i), i + 1 < count ? &receives_[i + 1] : nullptr, &entry, 1};
  }
  ibv_recv_wr* refused = nullptr;
  if (ibv_post_srq_recv(far_.shared, receives_.data(), &refused) != 0) std::abort();
}

}  // namespace mcp::internal
