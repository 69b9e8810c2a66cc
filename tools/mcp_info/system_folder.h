// A folder of files like those of /sys and /proc, for tests.
#ifndef MCP_TOOLS_MCP_INFO_SYSTEM_FOLDER_H_
#define MCP_TOOLS_MCP_INFO_SYSTEM_FOLDER_H_

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace mcp::info {

class SystemFolder {
 public:
  SystemFolder() {
    root_ = std::filesystem::temp_directory_path() / "mcp_info_XXXXXX";  // mkdtemp puts six characters there
    if (mkdtemp(root_.data()) != nullptr) return;
    std::perror("mkdtemp");  // and no test may take the host's own /sys for it
    std::abort();
  }
  ~SystemFolder() {
    std::error_code error;
    std::filesystem::remove_all(root_, error);
  }
  SystemFolder(const SystemFolder&) = delete;
  SystemFolder& operator=(const SystemFolder&) = delete;

  const std::string& root() const { return root_; }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text << "\n";
  }
  void Link(const std::string& path, const std::string& target) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::filesystem::create_symlink(target, root_ + path);
  }

 private:
  std::string root_;
};

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_SYSTEM_FOLDER_H_
