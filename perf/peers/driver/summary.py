"""Medians, spreads and ratios over the rounds of a run."""
import collections
import dataclasses
import statistics

from . import model
from .adapters import bare, mcp
from .results import row_of

MCP, BARE = mcp.Mcp.name, bare.Bare.name
# What a row is compared with. Who would put can do with a message, and most peers have nothing else; who needs a message
# and the receive that it meets cannot do with a put.
_COMPARED = {'put_bw': ('put_bw', 'send_bw'), 'send_bw': ('send_bw',), 'get_bw': ('get_bw',),
             'put_lat': ('put_lat', 'send_lat'), 'send_lat': ('send_lat',)}


@dataclasses.dataclass(frozen=True)
class Figure:
    """The median of the rounds and its spread, from the smallest to the greatest."""
    median: float
    low: float
    high: float
    count: int


def figure(values):
    values = [value for value in values if value is not None]
    if not values:
        return None
    return Figure(statistics.median(values), min(values), max(values), len(values))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """mcp against the best of others: median and spread of the ratios of each round, above 1 where mcp is better."""
    best: model.Row
    ratio: Figure


class Summary:
    def __init__(self, records):
        self._samples = collections.defaultdict(dict)  # (path, row, size): {round: record}
        self.skipped = [record for record in records if record['kind'] == 'skip']
        self.unfit = [record for record in records if record['kind'] == 'unfit']
        self.failures = [record for record in records if record['kind'] == 'failure']
        for record in records:
            if record['kind'] == 'sample':
                self._samples[record['path'], row_of(record), record['size_bytes']][record['round']] = record

    @property
    def paths(self):
        return _ordered(path for path, _, _ in self._samples)

    def rows(self, path, latency):
        return _ordered(row for where, row, _ in self._samples
                        if where == path and model.is_latency(row.test) == latency)

    def sizes(self, latency):
        return sorted({size for _, row, size in self._samples if model.is_latency(row.test) == latency})

    def figure(self, path, row, size, field):
        return figure(record[field] for record in self._samples.get((path, row, size), {}).values())

    def settings(self, path, row, size):
        records = list(self._samples.get((path, row, size), {}).values())
        return records[0]['settings'] if records else None

    def foreign_cpu(self):
        return figure(record['foreign_cpu'] for rounds in self._samples.values() for record in rounds.values())

    def _best(self, path, size, field, smaller_is_better, tests, choose):
        """The row with the best median among those of `tests` that `choose` accepts."""
        medians = {}
        for where, row, at in self._samples:
            if where == path and at == size and row.test in tests and choose(row):
                found = self.figure(path, row, size, field)
                if found:
                    medians[row] = found.median
        if not medians:
            return None
        return (min if smaller_is_better else max)(medians, key=medians.get)

    def compare(self, path, row, size, field, choose):
        """`row` of mcp with the best of those `choose` accepts, or None where either has no figure."""
        smaller = field != 'bandwidth_bytes_per_s'
        best = self._best(path, size, field, smaller, _COMPARED[row.test], choose)
        if best is None:
            return None
        ours, theirs = self._samples.get((path, row, size), {}), self._samples[path, best, size]
        ratios = []
        for number in ours.keys() & theirs.keys():
            mine, other = ours[number][field], theirs[number][field]
            if mine and other:
                ratios.append(other / mine if smaller else mine / other)
        return Comparison(best, figure(ratios)) if ratios else None


def is_peer(row):
    return row.peer not in (MCP, BARE)


def is_bare(row):
    """The same calls at the same sizes; what packs small messages is another program and shown apart."""
    return row.peer == BARE and row.variant != bare.COALESCED


def is_coalesced(row):
    return row.peer == BARE and row.variant == bare.COALESCED


def _ordered(values):
    """Without repeats, in the order of first appearance."""
    return list(dict.fromkeys(values))
