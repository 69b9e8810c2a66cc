// Small files of /sys and /proc.
#ifndef MCP_TOOLS_MCP_INFO_SYSTEM_FILES_H_
#define MCP_TOOLS_MCP_INFO_SYSTEM_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mcp::info {

// The file's text without white space around it. Empty when it can't be read.
std::string ReadText(const std::string& path);
// The number that the file holds; `otherwise` when there is none.
int64_t ReadNumber(const std::string& path, int64_t otherwise);
// Names in a folder, numbers among them in their own order. Empty when there is none.
std::vector<std::string> ListFolder(const std::string& path);
bool Exists(const std::string& path);
// The last part of where a symbolic link leads: "../../../bus/pci/drivers/mlx5_core" gives "mlx5_core".
std::string LinkName(const std::string& path);
// The value of the first "NAME: VALUE" line.
std::string LabelledValue(const std::string& path, absl::string_view label);

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_SYSTEM_FILES_H_
