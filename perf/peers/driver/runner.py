"""Goes through all rows in rounds: every path, size and kind of test in turn, its rows one after another in an order
drawn anew each time, so that what the machine does meanwhile falls on all alike."""
import random
import time

from . import model
from .adapters.mcp import Mcp
from .model import MeasurementError, format_size


class Plan:
    """What is to be measured."""

    def __init__(self, peers, paths, tests, sizes, latency_sizes):
        self.peers, self.paths = peers, paths
        self._tests, self._sizes, self._latency_sizes = tests, sizes, latency_sizes

    def _sizes_of(self, test):
        return self._latency_sizes if model.is_latency(test) else self._sizes

    def rows(self):
        """(peer, row, size) of all that makes sense."""
        for test in self._tests:
            for size in self._sizes_of(test):
                yield from self._rows_of(size, (test,))

    def groups(self):
        """Lists of (peer, path, row, size) that are compared with each other and so run next to each other."""
        kinds = [[test for test in self._tests if model.is_latency(test) == latency] for latency in (False, True)]
        for path in self.paths:
            for tests in kinds:
                for size in self._sizes_of(tests[0]) if tests else ():
                    yield [(peer, path, row, size) for peer, row, size in self._rows_of(size, tests)]

    def _rows_of(self, size, tests):
        for peer in self.peers:
            for row in peer.rows():
                if row.test in tests and not peer.unfit(row, size):
                    yield peer, row, size

    def unfit(self):
        """(row, size, reason) of what makes no sense."""
        for peer in self.peers:
            for row in peer.rows():
                for size in self._sizes_of(row.test) if row.test in self._tests else ():
                    reason = peer.unfit(row, size)
                    if reason:
                        yield row, size, reason


def verify_mcp(plan, pace, settings, results, say):
    """Before figures are taken: does what arrives equal what was sent?"""
    for group in plan.groups():
        for peer, path, row, size in group:
            if not isinstance(peer, Mcp):
                continue
            try:
                peer.verify(path, row, settings.of(peer, row, size), pace.work(path, row, size))
            except MeasurementError as error:
                results.failure(path, row, size, 0, f'verification: {error}')
                say(f'{path.name} {row.name} {row.test} {format_size(size)}: {error}')


def run(plan, rounds, pace, settings, seed, results, say):
    order = random.Random(seed)
    started = time.monotonic()
    for number in range(1, rounds + 1):
        for group in plan.groups():
            order.shuffle(group)
            for peer, path, row, size in group:
                chosen = settings.of(peer, row, size)
                try:
                    sample = pace.measure(peer, path, row, chosen, size)
                    results.sample(path, row, size, number, chosen, sample)
                except MeasurementError as error:
                    results.failure(path, row, size, number, str(error))
                    say(f'{path.name} {row.name} {row.test} {format_size(size)}: {error}')
        say(f'round {number} of {rounds} done after {time.monotonic() - started:.0f} s')
