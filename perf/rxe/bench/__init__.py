"""mcp beside perftest and UCX, in one guest and one run."""
