"""One module a peer. Each knows how its peer is started, tuned, and read."""
from . import bare, gloo, grpc, iperf3, libfabric, mcp, openmpi, ucx, zeromq


def all_peers(context):
    """mcp first, then its peers in the order of the tables."""
    kinds = (mcp.Mcp, ucx.Ucx, libfabric.Libfabric, openmpi.OpenMpi, gloo.Gloo, zeromq.ZeroMq, grpc.Grpc,
             iperf3.Iperf3, bare.Bare)
    return [kind(context) for kind in kinds]
