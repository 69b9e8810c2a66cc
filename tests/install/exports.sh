#!/bin/sh
# libmcp.so shows the public API and nothing else: no mcp::internal, no std:: or absl:: template instantiated in it.
set -eu
library=$1

exported=$(nm --dynamic --defined-only --extern-only --demangle "$library" | cut -d' ' -f3- |
  sed -E 's/^(typeinfo( name)? for|vtable for|(non-)?virtual thunk to) //' | grep -v '^MCP_0')
leaked=$(echo "$exported" | grep -vE '^mcp::([A-Z]|operator)' || true)
if [ -n "$leaked" ]; then
  echo "$library exports what it should hide:"
  echo "$leaked"
  exit 1
fi
echo "$exported" | grep -q '^mcp::Version()' || { echo "$library does not export mcp::Version"; exit 1; }
objdump -p "$library" | grep -q 'SONAME *libmcp\.so\.0$' || { echo "$library: its SONAME is not libmcp.so.0"; exit 1; }
echo "exported symbols: $(echo "$exported" | wc -l)"
