// Fills Facts from the system's files, a few system calls and the library. Nothing here changes anything, or needs
// rights: what can't be read is left out.
//
// Every collector of files takes the root to read below: "" is the system's, tests give a folder of their own.
#ifndef MCP_TOOLS_MCP_INFO_COLLECT_H_
#define MCP_TOOLS_MCP_INFO_COLLECT_H_

#include <string>
#include <vector>

#include "tools/mcp_info/facts.h"

namespace mcp::info {

std::vector<RdmaDevice> CollectRdmaDevices(const std::string& root);
// Adds what only libibverbs knows (path MTU, limits); does nothing where this build has none.
void QueryVerbs(std::vector<RdmaDevice>& devices);

std::vector<Interface> CollectInterfaces(const std::string& root, const std::vector<RdmaDevice>& devices);
MemoryLimits CollectMemoryLimits(const std::string& root);
IoUring ProbeIoUring(const std::string& root);
std::vector<Gpu> CollectGpus(const std::string& root);
std::vector<GpuRegistration> CollectGpuRegistration(const std::string& root, const std::vector<Gpu>& gpus);
std::vector<KernelModule> CollectKernelModules(const std::string& root);
// Asks the library which transports it would use on this host.
std::vector<TransportState> CollectTransports();

Facts CollectFacts();

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_COLLECT_H_
