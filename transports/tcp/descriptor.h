// A file descriptor that closes itself.
#ifndef MCP_TRANSPORTS_TCP_DESCRIPTOR_H_
#define MCP_TRANSPORTS_TCP_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace mcp::internal {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Descriptor() { Reset(); }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  void Reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_DESCRIPTOR_H_
