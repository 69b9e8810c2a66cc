#include "tools/mcp_perf/progress_bar.h"

#include <unistd.h>

#include <cstdio>

#include "tools/mcp_perf/host.h"

namespace mcp::perf {
namespace {

constexpr int64_t kRedrawNs = 100'000'000;
constexpr int kCells = 30;

}  // namespace

ProgressBar::ProgressBar(bool quiet) : shown_(!quiet && isatty(STDERR_FILENO) == 1) {}

void ProgressBar::Show(const std::string& label, double done) {
  if (!shown_) return;
  const int64_t now_ns = NowNs();
  if (drawn_ && now_ns - last_ns_ < kRedrawNs) return;
  last_ns_ = now_ns;
  drawn_ = true;
  const int full = static_cast<int>(done * kCells);
  std::fprintf(stderr, "\r\033[K%s [%s%s] %3.0f %%", label.c_str(), std::string(full, '#').c_str(),
               std::string(kCells - full, ' ').c_str(), done * 100);
}

void ProgressBar::Clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace mcp::perf
