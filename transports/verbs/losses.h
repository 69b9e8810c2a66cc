// What a port counts of losses, for the streams that are to live with them.
#ifndef MCP_TRANSPORTS_VERBS_LOSSES_H_
#define MCP_TRANSPORTS_VERBS_LOSSES_H_

#include <cstdint>
#include <optional>

namespace mcp::internal {

// Since the device is there, of all queue pairs of the port. Zero where the driver does not count.
struct PortCounters {
  uint64_t times_sent_again = 0;  // queue pairs went back to what was lost and sent on from there
  uint64_t packets_sent = 0;
};

// How far apart losses are of late. A plain value.
class Losses {
 public:
  // What goes backwards could not be read.
  void Take(const PortCounters& now) {
    if (!last_.has_value()) last_ = now;
    if (now.times_sent_again < last_->times_sent_again || now.packets_sent < last_->packets_sent) return;
    if (now.packets_sent > last_->packets_sent) {
      packets_ += now.packets_sent - last_->packets_sent;
      times_ += now.times_sent_again - last_->times_sent_again;
    }
    last_ = now;
    if (times_ >= kTimesMax) {
      times_ /= 2;
      packets_ /= 2;
    }
    if (packets_ >= times_ * kPacketsRare) packets_ = times_ = 0;
  }
  uint64_t times_sent_again() const { return last_.has_value() ? last_->times_sent_again : 0; }
  // On average. 0: losses are rare, or nobody counts them.
  uint64_t packets_between() const { return times_ < kTimesMin ? 0 : packets_ / times_; }

 private:
  static constexpr uint64_t kTimesMin = 4;   // before that, they may be chance
  static constexpr uint64_t kTimesMax = 64;  // as many are remembered
  // So far apart no stream has to mind them: at 4 KiB a packet this is what the longest window holds 16 times.
  static constexpr uint64_t kPacketsRare = uint64_t{1} << 16;

  std::optional<PortCounters> last_;
  uint64_t packets_ = 0;
  uint64_t times_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_LOSSES_H_
