#include "lib/metrics/registry.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "lib/base/assert.h"

namespace mcp::internal {
namespace {

[[maybe_unused]] bool IsName(absl::string_view name) {
  const auto fits = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  return !name.empty() && !absl::ascii_isdigit(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), fits);
}

std::string RenderLabels(const MetricLabels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    MCP_ASSERT(IsName(name) && name != "le");
    absl::StrAppend(&text, text.empty() ? "" : ",", name, "=\"",
                    absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
  }
  return text;
}

// `name{labels,extra} value`
void AppendSample(absl::string_view name, absl::string_view labels, absl::string_view extra, absl::string_view value,
                  std::string* text) {
  const absl::string_view comma = labels.empty() || extra.empty() ? "" : ",";
  const bool braces = !labels.empty() || !extra.empty();
  absl::StrAppend(text, name, braces ? "{" : "", labels, comma);
  absl::StrAppend(text, extra, braces ? "}" : "", " ", value, "\n");
}

}  // namespace

template <class Kind, class Make>
Kind& Registry::Add(absl::string_view name, absl::string_view help, absl::string_view type, const MetricLabels& labels,
                    Make make) {
  MCP_ASSERT(IsName(name));
  const std::string key = RenderLabels(labels);
  const std::lock_guard<std::mutex> lock(mutex_);
  Family& family = families_[std::string(name)];
  if (family.type.empty()) {
    family.help = std::string(help);
    family.type = std::string(type);
  }
  MCP_ASSERT(family.type == type);
  auto found = family.metrics.find(key);
  if (found == family.metrics.end()) found = family.metrics.emplace(key, make()).first;
  MCP_ASSERT(std::holds_alternative<Kind>(found->second));
  return *std::get_if<Kind>(&found->second);
}

Counter& Registry::AddCounter(absl::string_view name, absl::string_view help, const MetricLabels& labels) {
  using Kind = std::unique_ptr<Counter>;
  return *Add<Kind>(name, help, "counter", labels, [this] { return std::make_unique<Counter>(shards_); });
}

Gauge& Registry::AddGauge(absl::string_view name, absl::string_view help, const MetricLabels& labels) {
  using Kind = std::unique_ptr<Gauge>;
  return *Add<Kind>(name, help, "gauge", labels, [] { return std::make_unique<Gauge>(); });
}

ShardedHistogram& Registry::AddHistogram(absl::string_view name, absl::string_view help, const HistogramFormat& format,
                                         const MetricLabels& labels) {
  using Kind = std::unique_ptr<HistogramMetric>;
  const auto make = [&] { return std::make_unique<HistogramMetric>(shards_, format); };
  return Add<Kind>(name, help, "histogram", labels, make)->histogram;
}

void Registry::AddGaugeReader(absl::string_view name, absl::string_view help, GaugeReader reader,
                              const MetricLabels& labels) {
  Add<GaugeReader>(name, help, "gauge", labels, [&] { return std::move(reader); });
}

std::string Registry::RenderPrometheus() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (const auto& [name, family] : families_) {
    const std::string help = absl::StrReplaceAll(family.help, {{"\\", "\\\\"}, {"\n", "\\n"}});
    absl::StrAppend(&text, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", family.type, "\n");
    for (const auto& [labels, metric] : family.metrics) RenderMetric(name, labels, metric, &text);
  }
  return text;
}

void Registry::RenderMetric(absl::string_view name, const std::string& labels, const Metric& metric,
                            std::string* text) {
  if (const auto* counter = std::get_if<std::unique_ptr<Counter>>(&metric)) {
    AppendSample(name, labels, "", absl::StrCat((*counter)->Value()), text);
  } else if (const auto* gauge = std::get_if<std::unique_ptr<Gauge>>(&metric)) {
    AppendSample(name, labels, "", absl::StrCat((*gauge)->Value()), text);
  } else if (const auto* reader = std::get_if<GaugeReader>(&metric)) {
    AppendSample(name, labels, "", absl::StrCat((*reader)()), text);
  } else if (const auto* histogram = std::get_if<std::unique_ptr<HistogramMetric>>(&metric)) {
    RenderHistogram(name, labels, **histogram, text);
  }
}

// Recorded values are whole, so "below 2^k" is "at most 2^k - 1", which makes the bounds exact.
void Registry::RenderHistogram(absl::string_view name, const std::string& labels, const HistogramMetric& metric,
                               std::string* text) {
  const Histogram merged = metric.histogram.Merged();
  const HistogramFormat& format = metric.format;
  const std::string bucket = absl::StrCat(name, "_bucket");
  for (int exponent = format.first_exponent; exponent <= format.last_exponent; ++exponent) {
    const double bound = static_cast<double>((uint64_t{1} << exponent) - 1) * format.unit;
    AppendSample(bucket, labels, absl::StrFormat("le=\"%.12g\"", bound),
                 absl::StrCat(merged.CountBelowPowerOfTwo(exponent)), text);
  }
  const std::string count = absl::StrCat(merged.Count());
  AppendSample(bucket, labels, "le=\"+Inf\"", count, text);
  AppendSample(absl::StrCat(name, "_sum"), labels, "",
               absl::StrFormat("%.12g", static_cast<double>(merged.Sum()) * format.unit), text);
  AppendSample(absl::StrCat(name, "_count"), labels, "", count, text);
}

}  // namespace mcp::internal
