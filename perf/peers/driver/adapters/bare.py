"""A C program that does send() and recv() of the same sizes and nothing else."""
from .. import model
from ..model import Row
from .base import OwnProgram

ONE, TWO, COALESCED = '1 connection', '2 connections', '2 connections, coalesced'
SPINNING, BLOCKING = 'spinning', 'blocking'
_COALESCE_BYTES = 1 << 20


class Bare(OwnProgram):
    name = 'bare C'
    package = 'libc6'
    program = 'bare'
    tests = ('send_bw', 'send_lat')
    fixed = 'send() and recv() with MSG_WAITALL, TCP_NODELAY, default socket buffers, a thread for each connection'

    def rows(self):
        return ([Row(self.name, variant, 'send_bw') for variant in (ONE, TWO, COALESCED)] +
                [Row(self.name, variant, 'send_lat') for variant in (SPINNING, BLOCKING)])

    def is_one_spinner(self, row):
        return row.variant == SPINNING

    def unfit(self, row, size):
        if row.variant == COALESCED and size >= _COALESCE_BYTES:
            return 'messages of this size are not coalesced'
        return None

    def arguments(self, row, settings, work):
        arguments = super().arguments(row, settings, work)
        if model.is_latency(row.test):
            return arguments + ['--wait', 'spin' if row.variant == SPINNING else 'block']
        arguments += ['--connections', 1 if row.variant == ONE else 2]
        return arguments + (['--coalesce', _COALESCE_BYTES] if row.variant == COALESCED else [])
