"""libfabric's tcp provider, through programs/libfabric.c: Debian does not package fabtests."""
from .. import model
from .base import OwnProgram


class Libfabric(OwnProgram):
    name = 'libfabric'
    package = 'libfabric1'
    program = 'libfabric'
    tests = model.TESTS
    fixed = 'tcp provider, FI_EP_MSG, FI_THREAD_DOMAIN, polled completion queues'

    def candidates(self, row, size):
        choice = self.windowed(row, size)
        if size <= 4 << 10 and not model.is_latency(row.test):  # larger buffers coalesce more small messages
            choice += [{**one, 'staging': 65536} for one in choice]
        return choice

    def environment(self, settings):
        staging = settings.get('staging')
        return {'FI_TCP_STAGING_SBUF_SIZE': str(staging), 'FI_TCP_PREFETCH_RBUF_SIZE': str(staging)} if staging else {}
