// A session against a peer that says anything in any order: the input is a script of frames, writes and of what the
// honest side does meanwhile. Whatever comes, nothing outside the exported memory changes, every accepted operation
// completes exactly once, and the engine ends.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/engine/engine_impl.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "lib/wire/frame.h"
#include "lib/wire/hello.h"
#include "lib/wire/pack.h"
#include "transports/loopback/loopback_network.h"

namespace mcp::internal {
namespace {

constexpr size_t kStepsMax = 256;
constexpr int kFrameTypes = static_cast<int>(FrameType::kConnect);  // the last one
constexpr uint64_t kExportedBytes = 4096;
constexpr uint64_t kCanaryBytes = 4096;
constexpr uint64_t kLandingBytes = 128 << 10;
constexpr size_t kRecentMax = 8;  // keys and names that the other side has mentioned
constexpr int kRoundsPerStep = 3;
constexpr int kRoundsMax = 1000;
constexpr std::byte kCanary{0xc5};
constexpr int64_t kMillisecondNs = 1'000'000;

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "session fuzz: %s\n", what);
  std::abort();
}

// The input, read as a script. Past its end everything is 0.
class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool over() const { return position_ >= size_; }
  uint8_t Byte() { return over() ? 0 : data_[position_++]; }
  uint64_t Word() {
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = word << 8 | Byte();
    return word;
  }

 private:
  const uint8_t* const data_;
  const size_t size_;
  size_t position_ = 0;
};

// Stands still but while something waits for the other side, which then says nothing: the peer's timeout ends that.
class FuzzClock final : public Clock {
 public:
  int64_t NowNs() override { return now_ns_ += step_ns_; }
  void Advance(int64_t delta_ns) { now_ns_ += delta_ns; }
  void MoveByReading(bool moves) { step_ns_ = moves ? kStepNs : 0; }

 private:
  static constexpr int64_t kStepNs = 5 * kMillisecondNs;

  int64_t now_ns_ = 0;
  int64_t step_ns_ = 0;
};

class FuzzProvider final : public TransportProvider {
 public:
  explicit FuzzProvider(std::shared_ptr<LoopbackNetwork> network) : network_(std::move(network)) {}
  absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable* regions, Clock* clock, uint32_t) override {
    return network_->CreateTransport(clock, regions);
  }
  absl::StatusOr<std::string> Resolve(absl::string_view address) override { return std::string(address); }
  std::vector<TransportFallback> Fallbacks() const override { return {}; }

 private:
  const std::shared_ptr<LoopbackNetwork> network_;
};

// The honest side: an engine driven by this thread, exported memory between canaries, and operations under count.
class Honest {
 public:
  Honest(FuzzClock* clock, TransportProvider* provider)
      : clock_(clock), logger_(LogLevel::kError, [](LogLevel, absl::string_view) {}) {
    memory_.resize(kExportedBytes + 2 * kCanaryBytes, kCanary);
    EngineOptions options;
    options.lanes = 0;
    options.exported_keys_max = 64;
    EngineDependencies dependencies;
    dependencies.clock = clock;
    dependencies.seed = 1;
    dependencies.logger = &logger_;
    dependencies.provider = provider;
    engine_ = *EngineImpl::Create(options, dependencies);
    exported_ = *engine_->Register(memory_.data() + kCanaryBytes, kExportedBytes);
    landing_ = *engine_->Allocate(kLandingBytes);
    SessionOptions session_options;
    session_options.rails = 2;
    session_options.outstanding_max = 32;
    listener_ =
        *engine_->Listen("loopback:fuzz", session_options, [this](Session session) { session_ = std::move(session); });
    Export();
  }

  // In this order: every completion runs before what it counts in is gone.
  ~Honest() {
    session_ = Session();
    exported_ = Region();
    landing_ = Region();
    listener_ = Listener();
    engine_.reset();
    Require(completed_ == accepted_, "an accepted operation did not complete, or completed twice");
    CheckCanaries();
  }

  static void CheckPart(uint64_t offset, uint64_t bytes) {
    Require(bytes > 0 && offset < kLandingBytes && bytes <= kLandingBytes - offset, "a part outside the buffer");
  }

  void CheckCanaries() const {
    const auto untouched = [](const std::byte* from) {
      return std::all_of(from, from + kCanaryBytes, [](std::byte byte) { return byte == kCanary; });
    };
    Require(untouched(memory_.data()) && untouched(memory_.data() + kCanaryBytes + kExportedBytes),
            "memory outside the exported range changed");
  }

  void Act(Script* script, uint64_t peer_key) {
    if (!session_.valid()) return;
    const uint8_t what = script->Byte();
    const uint64_t tag = what >> 6;
    const uint64_t length = uint64_t{script->Byte()} << (script->Byte() % 10);
    const Slice local = landing_.Part(0, std::min(length, kLandingBytes));
    ReceiveOptions any;
    any.tag_mask = (what & 32) != 0 ? 0 : ~uint64_t{0};
    any.timeout = std::chrono::milliseconds(what & 16);
    switch (what % 9) {
      case 0:
      case 1:
        if ((what & 8) != 0) any.on_chunk = [](uint64_t offset, uint64_t bytes) { CheckPart(offset, bytes); };
        return Note(session_.Receive(tag, local, Counted(), std::move(any)));
      case 2:
        return Note(session_.Send(tag, local, Counted()));
      case 3:
        return Note(session_.Put(local, Remote(peer_key), 0, Counted()));
      case 4:
        return Note(session_.Get(local, Remote(peer_key), 0, Counted()));
      case 5:
        if (last_ != 0) (void)session_.Cancel(last_);
        return;
      case 6:
        clock_->MoveByReading(true);
        exported_.Revoke();
        return clock_->MoveByReading(false);
      case 7:
        return Export();
      default:
        if (what < 64) session_.Close([](Result) {});
        if (what >= 192) session_ = Session();
        return;
    }
  }

  size_t Progress() { return engine_->Progress(); }
  uint64_t key() const { return key_; }

 private:
  static constexpr size_t kKeyOffset = 8;  // of a serialized region

  void Export() {
    const auto remote = exported_.Export();
    if (!remote.ok()) return;
    key_ = LoadLittleEndian<uint64_t>(reinterpret_cast<const std::byte*>(remote->Serialize().data()) + kKeyOffset);
  }

  // A region of the peer's, as large as it likes to say.
  static RemoteRegion Remote(uint64_t key) {
    constexpr size_t kChecksumOffset = 48;
    std::array<std::byte, kChecksumOffset + 8> bytes{};
    StoreLittleEndian<uint32_t>(bytes.data(), 0x5250434d);
    StoreLittleEndian<uint16_t>(bytes.data() + 4, 2);
    StoreLittleEndian<uint16_t>(bytes.data() + 6, 3);
    StoreLittleEndian<uint64_t>(bytes.data() + 8, key);
    StoreLittleEndian<uint64_t>(bytes.data() + 16, kLandingBytes);
    StoreLittleEndian<uint64_t>(bytes.data() + kChecksumOffset, Checksum(bytes.data(), kChecksumOffset));
    const auto parsed =
        RemoteRegion::Parse(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    Require(parsed.ok(), "the form of a serialized region has changed: change it here too");
    return *parsed;
  }

  Completion Counted() {
    return [this](Result) { ++completed_; };
  }
  void Note(const absl::StatusOr<OperationId>& started) {
    if (!started.ok()) return;
    ++accepted_;
    last_ = *started;
  }

  FuzzClock* const clock_;
  Logger logger_;
  std::vector<std::byte> memory_;
  std::unique_ptr<Engine> engine_;
  Region exported_;
  Region landing_;
  Listener listener_;
  Session session_;
  uint64_t key_ = 0;
  OperationId last_ = 0;
  uint64_t accepted_ = 0;
  uint64_t completed_ = 0;
};

// The other side: a bare transport.
class Peer {
 public:
  Peer(LoopbackNetwork* network, Clock* clock)
      : regions_(64, Random(2)), transport_(network->CreateTransport(clock, &regions_)), memory_(kLandingBytes) {
    key_ = *regions_.Insert(memory_.data(), memory_.size(), kAccessRemoteRead | kAccessRemoteWrite, nullptr);
  }

  void Connect(uint16_t rail) {
    Hello hello;
    hello.features = kFeatureChecksum;
    hello.session_token = rail == 0 ? 0 : token_;
    hello.rail = rail;
    hello.rails = 2;
    hello.outstanding_max = 8;
    hello.eager_credit_bytes = 1 << 20;
    hello.abilities = kAbilityPacks;
    const auto connection =
        transport_->Connect("loopback:fuzz", 0, EncodeHello(hello), &rails_[rail], ~uint64_t{0} >> 1);
    if (connection.ok()) rails_[rail].connection = *connection;
  }

  void Poll() {
    std::array<Event, 64> events;
    regions_.EnterRound(0);
    const size_t count = transport_->Poll(absl::MakeSpan(events));
    for (size_t i = 0; i < count; ++i) Take(events[i]);
    regions_.LeaveRound(0);
  }

  void Say(Script* script, uint64_t exported_key) {
    const uint8_t how = script->Byte();
    Rail& rail = rails_[how & 1];
    if (!rail.up) return;
    Frame frame;
    frame.type = static_cast<FrameType>(1 + script->Byte() % kFrameTypes);
    frame.flags = (how & 2) != 0 ? script->Byte() : 0;
    frame.sequence = (how & 4) != 0 ? static_cast<uint32_t>(Value(script, exported_key)) : rail.sequence;
    frame.acknowledged = (how & 8) != 0 ? static_cast<uint32_t>(Value(script, exported_key)) : rail.heard;
    frame.payload_bytes = Value(script, exported_key);
    for (uint64_t& word : frame.words) word = Value(script, exported_key);
    std::vector<std::byte>& pack = packs_.emplace_back();  // lent from now on
    if (IsPack(frame.type)) pack = Pack(script, exported_key, &frame);
    const uint64_t follows = (how & 16) != 0 ? script->Byte() : std::min<uint64_t>(frame.payload_bytes, 64 << 10);
    std::byte header[kFrameHeaderBytesMax];
    WorkRequest work;
    work.header = header;
    work.header_bytes = static_cast<uint32_t>(EncodeFrame(frame, header));
    if ((how & 32) != 0) header[script->Byte() % work.header_bytes] ^= std::byte{script->Byte()};
    if ((how & 64) != 0) Seal(header, work.header_bytes);
    work.connection = rail.connection;
    work.payload = pack.empty() ? memory_.data() : pack.data();
    work.payload_bytes = pack.empty() ? follows : pack.size();
    const bool write = frame.type == FrameType::kTile ? (how & 128) == 0 : (how & 128) != 0;
    if (write) {
      work.kind = WorkRequest::Kind::kWrite;
      work.key = frame.put.key;
      work.offset = frame.put.offset;
    } else if (frame.type != FrameType::kPut && frame.type != FrameType::kEager && frame.type != FrameType::kHedged &&
               frame.type != FrameType::kClose && !IsPack(frame.type)) {
      work.payload_bytes = 0;
    }
    if (transport_->Post({&work, 1}) == 1 && IsSequenced(frame.type) && (how & 4) == 0) ++rail.sequence;
  }

  void Hang(uint16_t rail) {
    if (rails_[rail].up) transport_->Close(rails_[rail].connection, absl::AbortedError("the peer hangs up"));
  }

  uint64_t key() const { return key_; }
  uint64_t token() const { return token_; }

 private:
  struct Rail {
    ConnectionId connection = 0;
    bool up = false;
    uint32_t sequence = 0;
    uint32_t heard = 0;
  };

  // A few entries, perhaps cut short, with the fields and lengths that the script likes. Sealed, so that they are read.
  std::vector<std::byte> Pack(Script* script, uint64_t exported_key, Frame* frame) {
    const uint8_t shape = script->Byte();
    const uint64_t entries = shape % 4;
    const uint64_t payload_bytes = 64;
    std::vector<std::byte> pack(entries * (PackEntryBytes(frame->type) + payload_bytes));
    std::byte* end = pack.data();
    for (uint64_t i = 0; i < entries; ++i) {
      std::byte* const lengths_end = end + PackEntryBytes(frame->type);
      const uint64_t word0 = Value(script, exported_key);
      const uint64_t word1 = Value(script, exported_key);
      end = EncodePackEntry(frame->type, {{word0, word1}, memory_.data(), payload_bytes}, end);
      if ((shape & 16) != 0) StoreLittleEndian<uint64_t>(lengths_end - 8, Value(script, exported_key));
    }
    if ((shape & 32) != 0) pack.resize(std::min<size_t>(pack.size(), script->Byte()));
    if ((shape & 64) == 0) frame->pack.count = entries;
    frame->flags |= kFlagPayloadChecked;
    frame->payload_bytes = pack.size();
    frame->payload_checksum = Checksum(pack.data(), pack.size());
    return pack;
  }

  static void Seal(std::byte* header, size_t bytes) {
    StoreLittleEndian<uint32_t>(header + 4, 0);
    StoreLittleEndian<uint32_t>(header + 4, static_cast<uint32_t>(Checksum(header, bytes)));
  }

  void Take(const Event& event) {
    auto* const rail = static_cast<Rail*>(event.context);
    if (event.kind == Event::Kind::kClosed) rail->up = false;
    if (event.kind == Event::Kind::kConnected) {
      rail->up = true;
      const auto reply = DecodeHello({event.data, event.data_bytes});
      Require(reply.ok(), "the reply to a good hello is not one");
      token_ = reply->session_token;
    }
    if (event.kind != Event::Kind::kMessage) return;
    Frame frame;
    size_t header_bytes = 0;
    Require(DecodeFrame({event.data, event.data_bytes}, &frame, &header_bytes) == FrameFault::kNone,
            "the honest side said something that is no frame");
    if (IsSequenced(frame.type)) rail->heard = frame.sequence + 1;
    if (frame.type == FrameType::kRequest) announced_ = frame.request.transfer;
    if (frame.type == FrameType::kGrant) granted_ = frame.grant.key;
    if (frame.type == FrameType::kGet) granted_ = frame.get.landing;
    for (size_t i = 0; i < FrameWords(frame.type); ++i) recent_[recent_next_++ % kRecentMax] = frame.words[i];
  }

  uint64_t Value(Script* script, uint64_t exported_key) {
    const uint8_t which = script->Byte();
    switch (which % 16) {
      case 0:
        return 0;
      case 1:
        return script->Byte();
      case 2:
        return exported_key;
      case 3:
        return recent_[(which >> 4) % kRecentMax];
      case 4:
        return kExportedBytes;
      case 5:
        return kExportedBytes - script->Byte();
      case 6:
        return kLandingBytes;
      case 7:
        return ~uint64_t{0} - script->Byte();
      case 8:
        return uint64_t{1} << (which >> 4) * 4;
      case 9:
        return script->Word();
      case 10:
        return announced_;
      case 11:
        return granted_;
      default:
        return which >> 4;
    }
  }

  RegionTable regions_;
  std::unique_ptr<Transport> transport_;
  std::deque<std::vector<std::byte>> packs_;
  std::vector<std::byte> memory_;
  uint64_t key_ = 0;
  std::array<Rail, 2> rails_;
  uint64_t token_ = 0;
  uint64_t announced_ = 0;  // the transfer that the honest side offered last
  uint64_t granted_ = 0;    // the landing that it opened last
  std::array<uint64_t, kRecentMax> recent_{};
  size_t recent_next_ = 0;
};

void RunScript(Script script) {
  FuzzClock clock;
  const auto network = LoopbackNetwork::Create();
  FuzzProvider provider(network);
  Peer peer(network.get(), &clock);
  Honest honest(&clock, &provider);
  const auto both = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      honest.Progress();
      peer.Poll();
    }
  };
  for (uint16_t rail = 0; rail < 2; ++rail) {
    peer.Connect(rail);
    for (int i = 0; i < kRoundsMax && peer.token() == 0; ++i) both(1);
    both(kRoundsPerStep);
  }
  for (size_t step = 0; step < kStepsMax && !script.over(); ++step) {
    const uint8_t what = script.Byte();
    if (what < 170) {
      peer.Say(&script, honest.key());
    } else if (what < 240) {
      honest.Act(&script, peer.key());
    } else if (what < 252) {
      clock.Advance(script.Byte() * kMillisecondNs);
    } else {
      peer.Hang(what & 1);
    }
    if ((what & 1) == 0) both(kRoundsPerStep);
  }
  both(kRoundsPerStep);
  honest.CheckCanaries();
}

}  // namespace
}  // namespace mcp::internal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mcp::internal::RunScript(mcp::internal::Script(data, size));
  return 0;
}
