#include "perf/sim/trace.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "tests/support/noise.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kBytes = 1 << 20;
constexpr uint32_t kChangeEvery = 1000;
constexpr double kHostSpread = 0.08;  // of log2: what schedulers and caches do to any transfer

// The path at one transfer.
struct Moment {
  RailState rails[2];
  uint64_t bytes = kBytes;
  uint32_t state = 0;
  double factor = 1;       // on the whole latency, whatever carries it
  double bulk_factor = 1;  // on bulk's alone
  double stream_factor = 1;
};

Moment Quiet() {
  Moment moment;
  moment.rails[1].bytes_per_ns = 12.5;
  moment.rails[1].latency_ns = 8'000;
  return moment;
}

// What happens at transfer i. `random` is the world's own, asked once a transfer and in order.
using Script = std::function<void(uint32_t i, Random* random, Moment* moment)>;

struct Entry {
  std::string name;
  bool stationary;
  Script script;
  uint32_t settled_state = ~0u;
};

Script Loss(double loss) {
  return [loss](uint32_t, Random*, Moment* moment) {
    moment->rails[0].loss = loss;
    moment->rails[1].loss = loss;
  };
}

// Every kChangeEvery transfers the path is as `change` makes it, and as it was, in turn.
Script Alternating(std::function<void(Moment*)> change) {
  return [change = std::move(change)](uint32_t i, Random*, Moment* moment) {
    const uint32_t number = i / kChangeEvery;
    moment->state = number % 2;
    if (moment->state == 1) change(moment);
  };
}

void Drift(uint32_t i, Random*, Moment* moment) {
  constexpr uint32_t kPeriod = 20'000;  // down to a fourth and back, in even ratios
  const double position = static_cast<double>(i % kPeriod) / kPeriod;
  const double depth = position < 0.5 ? 2 * position : 2 - 2 * position;
  moment->rails[0].bytes_per_ns *= Exp2(-2 * depth);
  moment->state = static_cast<uint32_t>(depth * 32);
}

void Periodic(uint32_t i, Random*, Moment* moment) {
  moment->state = i % 400 < 200 ? 0 : 1;  // an iteration: compute, then everybody exchanges gradients
  if (moment->state == 1) moment->rails[0].bytes_per_ns /= 4;
}

void Outliers(uint32_t, Random* random, Moment* moment) {
  if (random->Below(100) == 0) moment->factor = 50;
}

// Two states with geometric dwell times, mean `dwell` transfers.
Script Flapping(uint32_t dwell) {
  return [dwell, bad = false](uint32_t, Random* random, Moment* moment) mutable {
    if (random->Below(dwell) == 0) bad = !bad;
    moment->state = bad ? 1 : 0;
    if (!bad) return;
    moment->rails[0].loss = 0.02;
    moment->rails[0].bytes_per_ns /= 2;
  };
}

void Death(uint32_t i, Random*, Moment* moment) {
  moment->state = i % 20'000 >= 5'000 && i % 20'000 < 12'000 ? 1 : 0;
  moment->rails[0].up = moment->state == 0;
}

// Every kChangeEvery transfers both rails become something else.
Script Anything() {
  return [rails = std::vector<RailState>(2)](uint32_t i, Random* random, Moment* moment) mutable {
    if (i % kChangeEvery == 0) {
      for (RailState& rail : rails) {
        rail.bytes_per_ns = 25 * Exp2(-3 * random->Unit());
        rail.latency_ns = static_cast<int64_t>(3'000 * Exp2(4 * random->Unit()));
        const double exponent = -17 + 13 * random->Unit();  // 1e-5 to 0.06
        rail.loss = random->Below(2) == 0 ? 0 : Exp2(exponent);
      }
    }
    moment->rails[0] = rails[0];
    moment->rails[1] = rails[1];
    moment->state = i / kChangeEvery;
  };
}

// As measured over TCP: unequal slow links teach that bulk, with its fixed shares, takes long; then they are fast again
// while a stream is in use.
void SlowAndFast(uint32_t i, Random*, Moment* moment) {
  moment->state = i % kChangeEvery < kChangeEvery / 10 ? 1 : 0;
  if (moment->state == 0) return;
  moment->factor = 18;
  moment->bulk_factor = 2.2;
}

// Nothing happens for long, then the better rail is slow for a while, and what is used instead shows nothing of its
// end.
void SlowOnce(uint32_t i, Random*, Moment* moment) {
  constexpr uint32_t kBegins = 40'000, kEnds = 45'000;
  moment->state = i >= kBegins && i < kEnds ? 1 : 0;
  if (moment->state == 1) moment->rails[0].bytes_per_ns /= 8;
}

// A new connection: the first transfers of all alternatives take longer, by a share that halves with each.
void WarmsUp(uint32_t i, Random*, Moment* moment) { moment->factor = 1 + 6 * Exp2(-0.5 * std::min(i, 100u)); }

void Sizes(uint32_t, Random* random, Moment* moment) {
  moment->bytes = (uint64_t{4096} << random->Below(11)) - 16 * random->Below(64);  // 4 KiB to 4 MiB
}

// What a stream of kBytes takes on the quiet path is this many times what bulk takes.
constexpr double kStreamOverBulk = 1.1792;

Script Apart(double gap) {
  return [gap](uint32_t, Random*, Moment* moment) { moment->stream_factor = (1 + gap) / kStreamOverBulk; };
}

// Bulk is the worse way by far; then it slowly becomes the better one by `gap`, with nothing that an alarm could be
// raised for; and stays that.
constexpr uint32_t kSettledState = 100;
Script Settles(double gap) {
  return [gap](uint32_t i, Random*, Moment* moment) {
    constexpr uint32_t kPeriod = 25'000, kFalls = 1000, kSettled = 5000;
    constexpr double kWorse = 0.3, kSteps = 40;
    const uint32_t at = i % kPeriod;
    const double fallen = at < kFalls ? 0 : std::min(1.0, static_cast<double>(at - kFalls) / (kSettled - kFalls));
    moment->state = at < kSettled ? static_cast<uint32_t>(fallen * kSteps) : kSettledState;
    moment->bulk_factor = 1 + kWorse * (1 - fallen);
    moment->stream_factor = (1 + gap) / kStreamOverBulk;
  };
}

std::vector<Entry> Entries() {
  return {
      {"steady", true, Loss(0)},
      {"sizes", true, Sizes},
      {"loss 1e-5", true, Loss(1e-5)},
      {"loss 1e-4", true, Loss(1e-4)},
      {"loss 1e-3", true, Loss(1e-3)},
      {"loss 1e-2", true, Loss(1e-2)},
      {"loss 0.1", true, Loss(0.1)},
      {"outliers", true, Outliers},
      {"fourfold step", false, Alternating([](Moment* moment) {
         moment->rails[0].bytes_per_ns /= 5;  // the whole transfer takes four times as long
         moment->rails[0].latency_ns *= 4;
       })},
      {"loss comes and goes", false, Alternating([](Moment* moment) {
         moment->rails[0].loss = 0.05;
         moment->rails[1].loss = 0.05;
       })},
      {"slow and fast", false, SlowAndFast},
      {"slow once", false, SlowOnce},
      {"warms up", true, WarmsUp},
      {"anything", false, Anything()},
      {"drift", false, Drift},
      {"periodic", false, Periodic},
      {"flapping, 20", false, Flapping(20)},
      {"flapping, 200", false, Flapping(200)},
      {"rail dies", false, Death},
      {"no gap", true, Apart(0)},
      {"1 % apart", true, Apart(0.01)},
      {"2 % apart", true, Apart(0.02)},
      {"settles, 3 % apart", false, Settles(0.03), kSettledState},
      {"settles, 5 % apart", false, Settles(0.05), kSettledState},
      {"settles, 8 % apart", false, Settles(0.08), kSettledState},
  };
}

std::vector<Alternative> Offered() {
  return {
      {.protocol = Protocol::kBulk, .rails = 1},    {.protocol = Protocol::kStream, .rails = 1},
      {.protocol = Protocol::kBulk, .rails = 2},    {.protocol = Protocol::kStream, .rails = 2},
      {.protocol = Protocol::kReplica, .rails = 3}, {.protocol = Protocol::kEager, .rails = 1, .bytes_max = 256 << 10}};
}

}  // namespace

std::vector<std::string> TraceNames() {
  std::vector<std::string> names;
  for (const Entry& entry : Entries()) names.push_back(entry.name);
  return names;
}

Trace MakeTrace(const std::string& name, uint32_t transfers, uint64_t seed) {
  const std::vector<Entry> entries = Entries();
  const auto entry = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.name == name; });
  Trace trace;
  if (entry == entries.end()) return trace;
  trace.name = name;
  trace.stationary = entry->stationary;
  trace.settled_state = entry->settled_state;
  trace.alternatives = Offered();
  Random world(seed);
  Random seeds = world.Fork();
  const HostCosts costs;
  for (uint32_t i = 0; i < transfers; ++i) {
    Moment moment = Quiet();
    entry->script(i, &world, &moment);
    const int up = (moment.rails[0].up ? 1 : 0) | (moment.rails[1].up ? 2 : 0);
    trace.steps.push_back({moment.bytes, moment.state, static_cast<uint16_t>(up)});
    const double factor = moment.factor * LogNormal(&world, kHostSpread);
    const uint64_t transfer_seed = seeds.Next();
    for (const Alternative& alternative : trace.alternatives) {
      Outcome outcome;
      if (moment.bytes <= alternative.bytes_max) {
        outcome = SimulateTransfer(alternative, moment.bytes, moment.rails, costs, transfer_seed);
        if (!outcome.failed) {
          double own = factor;
          if (alternative.protocol == Protocol::kBulk) own *= moment.bulk_factor;
          if (alternative.protocol == Protocol::kStream) own *= moment.stream_factor;
          outcome.latency_ns = static_cast<int64_t>(static_cast<double>(outcome.latency_ns) * own);
        }
      }
      trace.outcomes.push_back(outcome);
    }
  }
  return trace;
}

}  // namespace mcp::internal
