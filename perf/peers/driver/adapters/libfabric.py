"""libfabric's tcp provider, through programs/libfabric.c: Debian does not package fabtests."""
from .. import model
from .base import OwnProgram


class Libfabric(OwnProgram):
    name = 'libfabric'
    package = 'libfabric1'
    program = 'libfabric'
    tests = model.TESTS
    fixed = 'tcp provider, FI_EP_MSG, FI_THREAD_DOMAIN, polled completion queues'

    def is_one_spinner(self, row):
        return True

    def candidates(self, row, size):
        if model.is_latency(row.test):
            return [{}]
        if size > 4 << 10:
            return self.windowed(row, size)
        # Its queues hold 256 at most; larger buffers coalesce more small messages.
        return [{'window': window, **buffer} for buffer in ({}, {'staging': 65536}) for window in (256, 64)]

    def environment(self, settings):
        names = ('FI_TCP_STAGING_SBUF_SIZE', 'FI_TCP_PREFETCH_RBUF_SIZE') if 'staging' in settings else ()
        return {name: str(settings['staging']) for name in names}
