"""The settings each row runs with: `--tune` tries the candidates of every row and keeps the fastest in tuned.json."""
import collections
import json
import math
import pathlib
import statistics

from .model import MeasurementError, format_size

FILE = pathlib.Path(__file__).resolve().parents[1] / 'tuned.json'
_REPEATS = 3


def key(row, size):
    """Variants of a peer share settings, and reads take those of writes: tuning is long enough."""
    test = 'put_bw' if row.test == 'get_bw' else row.test
    return f'{row.peer} | {test} | {format_size(size)}'


class Settings:
    """What was tuned; for what was not, the first candidate."""

    def __init__(self, file=FILE):
        self._file = file
        self._chosen = json.loads(file.read_text()) if file.exists() else {}

    def of(self, peer, row, size):
        candidates = peer.candidates(row, size)
        chosen = self._chosen.get(key(row, size))
        return chosen if chosen in candidates else candidates[0]

    def choose(self, row, size, settings):
        self._chosen[key(row, size)] = settings

    def write(self):
        lines = (f'  {json.dumps(key)}: {json.dumps(value)}' for key, value in sorted(self._chosen.items()))
        self._file.write_text('{\n' + ',\n'.join(lines) + '\n}\n')


def best(bandwidths):
    """`bandwidths`: {(candidate, path): [samples]}. The candidate whose medians have the greatest geometric mean."""
    medians = collections.defaultdict(list)
    for (candidate, _), samples in bandwidths.items():
        medians[candidate].append(math.log(statistics.median(samples)))
    paths = max(len(logs) for logs in medians.values())
    complete = {candidate: logs for candidate, logs in medians.items() if len(logs) == paths}
    return max(complete, key=lambda candidate: sum(complete[candidate]))


def tune(plan, pace, settings, say):
    """Tries each candidate of each row on each path, interleaved."""
    tried = set()
    for peer, row, size in plan.rows():
        candidates = peer.candidates(row, size)
        if len(candidates) < 2 or row.test == 'get_bw' or key(row, size) in tried:
            continue
        tried.add(key(row, size))
        bandwidths = collections.defaultdict(list)
        for _ in range(_REPEATS):
            for path in plan.paths:
                for index, candidate in enumerate(candidates):
                    try:
                        sample = pace.measure(peer, path, row, candidate, size)
                        bandwidths[index, path.name].append(sample.bandwidth)
                    except MeasurementError as error:
                        say(f'{row.name} {row.test} {format_size(size)} {candidate}: {error}')
        if bandwidths:
            chosen = candidates[best(bandwidths)]
            settings.choose(row, size, chosen)
            settings.write()
            say(f'{row.peer} {row.test} {format_size(size)}: {chosen}')
