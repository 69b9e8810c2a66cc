"""gloo's tcp transport, through programs/gloo.cc."""
import pathlib
import shutil

from .. import processes
from .base import OwnProgram, read_own, timeout_s


class Gloo(OwnProgram):
    name = 'gloo'
    package = 'libgloo0'
    program = 'gloo'
    tests = ('send_bw', 'send_lat')
    fixed = 'tcp transport, unbound buffers, one slot for each message in flight'

    def candidates(self, row, size):
        return self.windowed(row, size)

    def measure(self, path, row, settings, work):
        store = pathlib.Path(self.context.store_folder) / 'gloo'  # where the two sides find each other
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True)
        arguments = self.arguments(row, settings, work) + ['--store', store]
        pair = processes.run_pair(path.server + arguments + ['--host', path.server_address, '--server'],
                                  path.client + arguments + ['--host', path.client_address], {}, timeout_s(work))
        return read_own(pair, work)
