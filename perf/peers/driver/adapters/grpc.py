"""gRPC C++ streaming, through programs/grpc.cc."""
from .. import model
from .base import OwnProgram


class Grpc(OwnProgram):
    name = 'gRPC'
    package = 'libgrpc++1.51'
    program = 'grpc'
    tests = ('send_bw', 'send_lat')
    fixed = ('generic async streaming of byte buffers (no protobuf), insecure channel, no size limit, buffer hint '
             'up to 16 KiB; a stream has one write in flight')

    def candidates(self, row, size):
        if model.is_latency(row.test):
            return [{'connections': 1}]
        return [{'connections': count} for count in (1, 2, 4)]
