"""A machine with an RDMA device to run commands on; tests/rxe/README.md says which and how."""
