// MCP_EXPORT marks what libmcp.so shows; everything else in it is hidden, so that two versions can live in one process.
#ifndef MCP_EXPORT_H_
#define MCP_EXPORT_H_

#define MCP_EXPORT __attribute__((visibility("default")))

#endif  // MCP_EXPORT_H_
