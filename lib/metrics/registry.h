// The metrics of one engine, by name, and their text for Prometheus (exposition format 0.0.4).
//
// Naming follows Prometheus: base units in the name ("mcp_operation_seconds", "mcp_payload_bytes_total"), counters end
// in _total.
//
// Thread rule: any thread. Adding and rendering take a lock; what was added is used without one and lives as long as
// the registry.
#ifndef MCP_LIB_METRICS_REGISTRY_H_
#define MCP_LIB_METRICS_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "lib/metrics/counter.h"
#include "lib/metrics/histogram.h"

namespace mcp::internal {

// Name and value; the name as in [a-zA-Z_][a-zA-Z0-9_]*, the value any text.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

struct HistogramFormat {
  double unit = 1;  // one recorded unit in the metric's base unit: 1e-9 for nanoseconds as seconds
  // Bounds are written at the powers of two from 2^first to 2^last recorded units.
  int first_exponent = 8;
  int last_exponent = 34;
};

class Registry {
 public:
  // `shards` is the number of lanes plus one, see counter.h.
  explicit Registry(uint32_t shards) : shards_(shards) {}
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // A name has one kind and one help text, the first given. Adding a name with labels that it already has gives the
  // metric that is there.
  Counter& AddCounter(absl::string_view name, absl::string_view help, const MetricLabels& labels = {});
  Gauge& AddGauge(absl::string_view name, absl::string_view help, const MetricLabels& labels = {});
  ShardedHistogram& AddHistogram(absl::string_view name, absl::string_view help, const HistogramFormat& format = {},
                                 const MetricLabels& labels = {});

  // A gauge that is asked when it is rendered, with the registry's lock held.
  using GaugeReader = absl::AnyInvocable<int64_t() const>;
  void AddGaugeReader(absl::string_view name, absl::string_view help, GaugeReader reader,
                      const MetricLabels& labels = {});

  std::string RenderPrometheus() const;

 private:
  struct HistogramMetric {
    HistogramMetric(uint32_t shards, const HistogramFormat& a_format) : histogram(shards), format(a_format) {}
    ShardedHistogram histogram;
    HistogramFormat format;
  };
  // Behind pointers, so that references stay good.
  using Metric =
      std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<HistogramMetric>, GaugeReader>;
  struct Family {
    std::string help;
    std::string type;
    std::map<std::string, Metric> metrics;  // by rendered labels: `lane="0",kind="put"`
  };

  template <class Kind, class Make>
  Kind& Add(absl::string_view name, absl::string_view help, absl::string_view type, const MetricLabels& labels,
            Make make);
  static void RenderMetric(absl::string_view name, const std::string& labels, const Metric& metric, std::string* text);
  static void RenderHistogram(absl::string_view name, const std::string& labels, const HistogramMetric& metric,
                              std::string* text);

  const uint32_t shards_;
  mutable std::mutex mutex_;  // guards families_
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_METRICS_REGISTRY_H_
