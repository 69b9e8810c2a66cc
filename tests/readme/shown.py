#!/usr/bin/env python3
"""shown.py SOURCE README: whether README shows SOURCE, whole and unchanged, as a block of C++."""
import sys

source, readme = (open(path, encoding="utf-8").read() for path in sys.argv[1:])
if f"```cpp\n{source}```\n" not in readme:
    sys.exit(f"{sys.argv[2]} does not show {sys.argv[1]}: copy it there, between ```cpp and ```")
