"""ZeroMQ, through programs/zeromq.c."""
from .. import model
from .base import OwnProgram, windows


class ZeroMq(OwnProgram):
    name = 'ZeroMQ'
    package = 'libzmq5'
    program = 'zeromq'
    tests = ('send_bw', 'send_lat')
    fixed = ('PUSH to PULL (PAIR for latency), high-water mark = window, zmq_msg_init_data from 4 KiB on, '
             'default batching')

    def candidates(self, row, size):
        """Its guide wants an I/O thread for each gigabyte a second; one serves one connection."""
        if model.is_latency(row.test):
            return [{'connections': 1}]
        low, middle, high = (4 * window if size <= 64 << 10 else window for window in windows(size))
        return [{'window': window, 'connections': count} for count in (1, 2) for window in (middle, low, high)]


