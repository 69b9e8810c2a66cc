// The client's half of one measurement: asks the server to prepare, connects, runs windows until the iterations or the
// duration are reached, and collects the figures.
//
// Thread rule: one thread.
#ifndef MCP_TOOLS_MCP_PERF_INITIATOR_H_
#define MCP_TOOLS_MCP_PERF_INITIATOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/mcp_perf/bandwidth_loop.h"
#include "tools/mcp_perf/control_channel.h"
#include "tools/mcp_perf/data_path.h"
#include "tools/mcp_perf/options.h"
#include "tools/mcp_perf/ping_pong.h"

namespace mcp::perf {

// The measured part that is done, 0 to 1.
using ProgressCallback = std::function<void(double)>;

class Initiator {
 public:
  Initiator(const Options& options, const TestSpec& spec, std::string host, ControlChannel* control);
  ~Initiator();

  // Figures go to `result` as they come, so that a failure leaves what was measured until then.
  absl::Status Run(TestResult& result, const ProgressCallback& progress);
  // True where Run failed because the measured session could not be had.
  bool no_path() const { return no_path_; }
  // Whether it was had, and what it goes over: "auto" until the server has said what it has.
  bool connected() const { return path_ != nullptr && path_->session().valid(); }
  const std::string& transport() const { return spec_.transport; }

  // Once connected.
  const PathInfo& local_path() const { return local_path_; }
  const PathInfo& remote_path() const { return remote_path_; }

 private:
  absl::Status Prepare();
  absl::Status ChooseTransport();
  absl::Status Connect(uint16_t port);
  absl::Status SendSource(const RemoteRegion& remote_source);
  absl::Status WarmUp(TestResult& scratch);
  absl::Status Measure(TestResult& result, const ProgressCallback& progress);
  uint64_t WindowLimit(uint64_t operations_left, int64_t ns_left) const;
  // One window of at most `limit` operations, added to the result.
  absl::Status RunWindow(uint64_t limit, int64_t duration_ns, TestResult& result, const std::function<void()>& tick);

  const Options& options_;
  TestSpec spec_;  // its transport becomes the one that both sides have
  const std::string host_;
  ControlChannel* const control_;
  std::unique_ptr<DataPath> path_;
  std::unique_ptr<BandwidthLoop> bandwidth_;
  std::unique_ptr<PingPong> ping_pong_;
  PathInfo local_path_;
  std::vector<Fallback> fallbacks_;
  bool asked_ = false;  // the server has been told of the test
  PathInfo remote_path_;
  uint64_t generation_ = 0;
  double operation_ns_ = 0;  // estimated from the windows so far
  bool no_path_ = false;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_INITIATOR_H_
