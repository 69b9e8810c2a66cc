#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/report.h"
#include "tools/mcp_perf/sizes.h"

namespace mcp::perf {
namespace {

// Sizes of the picture, in its own units.
constexpr double kWidth = 1120;
constexpr double kHeight = 532;
constexpr double kPanelTop = 96;
constexpr double kPanelHeight = 330;
constexpr double kPanelWidth = 440;
constexpr std::array<double, 2> kPanelLeft = {80, 640};
constexpr double kLegendTop = 486;
constexpr int kSizeTicksMax = 9;

// Told apart by people who see colours differently, too (Okabe and Ito).
constexpr std::array<const char*, 6> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

struct Point {
  double x = 0;
  double y = 0;
};

struct Series {
  std::string name;
  const char* colour = kColours[0];
  bool dashed = false;
  std::vector<Point> points;
};

struct Axis {
  double low = 0;  // as an exponent
  double high = 1;
  double Place(double exponent) const { return (exponent - low) / (high - low); }
};

std::string Number(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.2f", value);
  return text.data();
}

std::string Escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return escaped;
}

std::string Text(double x, double y, const std::string& text, const char* attributes) {
  return absl::StrCat("<text x=\"", Number(x), "\" y=\"", Number(y), "\" ", attributes, ">", Escape(text), "</text>\n");
}

std::string Line(Point from, Point to, const char* attributes) {
  return absl::StrCat("<line x1=\"", Number(from.x), "\" y1=\"", Number(from.y), "\" x2=\"", Number(to.x), "\" y2=\"",
                      Number(to.y), "\" ", attributes, "/>\n");
}

// "0.01", "1", "1000": a power of ten.
std::string PowerOfTen(int exponent) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.*f", std::max(0, -exponent), std::pow(10.0, exponent));
  return text.data();
}

Axis SizeAxis(const std::vector<Series>& all) {
  Axis axis{1e9, -1e9};
  for (const Series& series : all) {
    for (const Point& point : series.points) {
      axis.low = std::min(axis.low, std::log2(point.x));
      axis.high = std::max(axis.high, std::log2(point.x));
    }
  }
  if (axis.low > axis.high) return {0, 1};
  return {std::floor(axis.low - 0.25), std::ceil(axis.high + 0.25)};
}

Axis ValueAxis(const std::vector<Series>& all) {
  Axis axis{1e9, -1e9};
  for (const Series& series : all) {
    for (const Point& point : series.points) {
      axis.low = std::min(axis.low, std::floor(std::log10(point.y)));
      axis.high = std::max(axis.high, std::ceil(std::log10(point.y)));
    }
  }
  if (axis.low > axis.high) return {0, 1};
  if (axis.low == axis.high) axis.high += 1;
  return axis;
}

std::string Grid(double left, const Axis& sizes, const Axis& values) {
  const double bottom = kPanelTop + kPanelHeight;
  std::string svg =
      absl::StrCat("<rect x=\"", Number(left), "\" y=\"", Number(kPanelTop), "\" width=\"", Number(kPanelWidth),
                   "\" height=\"", Number(kPanelHeight), "\" fill=\"#fff\" stroke=\"#888\"/>\n");
  // Every tick is a power of two that people know: 1 KiB and 1 MiB are among them at each of these distances.
  int step = 1;
  for (const int wider : {2, 5, 10}) {
    if ((sizes.high - sizes.low) / step > kSizeTicksMax) step = wider;
  }
  for (int exponent = static_cast<int>(sizes.low); exponent <= static_cast<int>(sizes.high); ++exponent) {
    if (exponent % step != 0) continue;
    const double x = left + kPanelWidth * sizes.Place(exponent);
    svg += Line({x, kPanelTop}, {x, bottom}, "stroke=\"#e4e4e4\"");
    if (exponent >= 0) {
      svg += Text(x, bottom + 18, FormatSize(uint64_t{1} << exponent), "text-anchor=\"middle\" font-size=\"11\"");
    }
  }
  for (int exponent = static_cast<int>(values.low); exponent <= static_cast<int>(values.high); ++exponent) {
    const double y = bottom - kPanelHeight * values.Place(exponent);
    svg += Line({left, y}, {left + kPanelWidth, y}, "stroke=\"#cfcfcf\"");
    svg += Text(left - 8, y + 4, PowerOfTen(exponent), "text-anchor=\"end\" font-size=\"11\"");
    if (exponent == static_cast<int>(values.high)) break;
    for (int digit = 2; digit <= 9; ++digit) {
      const double minor = bottom - kPanelHeight * values.Place(exponent + std::log10(digit));
      svg += Line({left, minor}, {left + kPanelWidth, minor}, "stroke=\"#f0f0f0\"");
    }
  }
  return svg;
}

std::string Curve(double left, const Axis& sizes, const Axis& values, const Series& series) {
  std::string path, marks;
  for (const Point& point : series.points) {
    const double x = left + kPanelWidth * sizes.Place(std::log2(point.x));
    const double y = kPanelTop + kPanelHeight * (1 - values.Place(std::log10(point.y)));
    absl::StrAppend(&path, path.empty() ? "" : " ", Number(x), ",", Number(y));
    absl::StrAppend(&marks, "<circle cx=\"", Number(x), "\" cy=\"", Number(y), "\" r=\"3\" fill=\"",
                    series.dashed ? "#fff" : series.colour, "\" stroke=\"", series.colour, "\"/>\n");
  }
  return absl::StrCat("<polyline points=\"", path, "\" fill=\"none\" stroke=\"", series.colour, "\" stroke-width=\"2\"",
                      series.dashed ? " stroke-dasharray=\"5 4\"" : "", "/>\n", marks);
}

std::string Legend(double left, const std::vector<Series>& all) {
  std::string svg;
  double x = left;
  double y = kLegendTop;
  for (const Series& series : all) {
    const double width = 44 + 7.5 * static_cast<double>(series.name.size());
    if (x + width > left + kPanelWidth + 40 && x > left) {
      x = left;
      y += 20;
    }
    svg += Line({x, y - 4}, {x + 24, y - 4},
                absl::StrCat("stroke=\"", series.colour, "\" stroke-width=\"2\"",
                             series.dashed ? " stroke-dasharray=\"5 4\"" : "")
                    .c_str());
    svg += Text(x + 30, y, series.name, "font-size=\"12\"");
    x += width;
  }
  return svg;
}

std::string Panel(double left, const std::string& title, const std::string& unit, const std::vector<Series>& all) {
  const Axis sizes = SizeAxis(all);
  const Axis values = ValueAxis(all);
  std::string svg =
      Text(left, kPanelTop - 14, absl::StrCat(title, " (", unit, ")"), "font-size=\"15\" font-weight=\"bold\"");
  svg += Grid(left, sizes, values);
  svg += Text(left + kPanelWidth / 2, kPanelTop + kPanelHeight + 38, "bytes of one operation",
              "text-anchor=\"middle\" font-size=\"12\"");
  for (const Series& series : all) svg += Curve(left, sizes, values, series);
  if (all.empty()) {
    svg += Text(left + kPanelWidth / 2, kPanelTop + kPanelHeight / 2, "no result",
                "text-anchor=\"middle\" font-size=\"13\"");
  }
  return svg + Legend(left, all);
}

using Value = std::function<double(const TestResult&)>;

// One series for each test of that kind that has results.
void AppendSeries(const Report& report, bool latency_tests, const std::string& suffix, bool dashed, const Value& value,
                  std::vector<Series>& all) {
  for (size_t index = 0; index < kTestKinds.size(); ++index) {
    const TestKind& kind = kTestKinds[index];
    if (kind.latency != latency_tests) continue;
    Series series{absl::StrCat(kind.name, suffix), kColours[index], dashed, {}};
    for (const TestResult& result : report.results) {
      if (absl::string_view(result.test.name) != kind.name || result.operations == 0 || value(result) <= 0) continue;
      series.points.push_back({static_cast<double>(result.size), value(result)});
    }
    std::sort(series.points.begin(), series.points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    if (!series.points.empty()) all.push_back(std::move(series));
  }
}

bool HasKind(const Report& report, bool latency) {
  return std::any_of(report.results.begin(), report.results.end(), [latency](const TestResult& result) {
    return result.test.latency == latency && result.operations > 0;
  });
}

}  // namespace

std::string FormatSvg(const Report& report) {
  // Each panel shows the tests that are about it; where there are none, it shows what the others say of it.
  std::vector<Series> bandwidth, latency;
  AppendSeries(
      report, !HasKind(report, false), "", false,
      [](const TestResult& result) { return BandwidthBytesPerS(result) / 1e9; }, bandwidth);
  const bool latency_tests = HasKind(report, true);
  AppendSeries(
      report, latency_tests, " p50", false,
      [](const TestResult& result) { return result.latency.PercentileNs(0.5) / 1e3; }, latency);
  AppendSeries(
      report, latency_tests, " p99", true,
      [](const TestResult& result) { return result.latency.PercentileNs(0.99) / 1e3; }, latency);
  std::string svg = absl::StrCat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", kWidth, " ", kHeight,
                                 "\" width=\"", kWidth, "\" height=\"", kHeight,
                                 "\" font-family=\"sans-serif\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" "
                                 "fill=\"#fafafa\"/>\n");
  svg += Text(24, 32,
              absl::StrCat("mcp-perf ", report.version, ": ", report.local.host.host, " to ", report.remote.host.host,
                           ", ", report.local.path.transport, " over ", report.local.path.device),
              "font-size=\"17\" font-weight=\"bold\"");
  svg += Text(24, 52, absl::StrCat(report.local.host.cpu_model, ", ", report.local.host.kernel),
              "font-size=\"12\" fill=\"#666\"");
  svg += Panel(kPanelLeft[0], "Bandwidth", "GB/s", bandwidth);
  svg += Panel(kPanelLeft[1], latency_tests ? "Latency" : "Latency under load", "us", latency);
  return svg + "</svg>\n";
}

}  // namespace mcp::perf
