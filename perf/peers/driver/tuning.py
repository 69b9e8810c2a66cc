"""The settings each row runs with: `--tune` tries the candidates of every row and keeps the fastest in tuned.json."""
import collections
import json
import math
import pathlib
import statistics

from .model import MeasurementError, format_size

FILE = pathlib.Path(__file__).resolve().parents[1] / 'tuned.json'
_REPEATS = 3
_PROMISING = 0.7  # of the best; what is below after the first repeat is not tried again


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


def _scores(bandwidths):
    """Geometric means over the paths of the medians of {(candidate, path): [samples]}, of those that did all paths."""
    medians = collections.defaultdict(list)
    for (candidate, _), samples in bandwidths.items():
        medians[candidate].append(math.log(statistics.median(samples)))
    paths = max(len(logs) for logs in medians.values())
    return {candidate: math.exp(sum(logs) / paths) for candidate, logs in medians.items() if len(logs) == paths}


def best(bandwidths):
    scores = _scores(bandwidths)
    return max(scores, key=scores.get)


def promising(bandwidths):
    """The candidates that are not far behind."""
    scores = _scores(bandwidths)
    return {candidate for candidate, score in scores.items() if score >= _PROMISING * max(scores.values())}


def tune(plan, pace, settings, say):
    """Tries each candidate of each row on each path, interleaved."""
    tried = set()
    for peer, row, size in plan.rows():
        candidates = peer.candidates(row, size)
        if len(candidates) < 2 or row.test == 'get_bw' or key(row, size) in tried:
            continue
        tried.add(key(row, size))
        bandwidths = _try_all(peer, row, size, plan.paths, pace, say)
        if bandwidths:
            chosen = candidates[best(bandwidths)]
            settings.choose(row, size, chosen)
            settings.write()
            say(f'{row.peer} {row.test} {format_size(size)}: {chosen}')


def _try_all(peer, row, size, paths, pace, say):
    bandwidths = collections.defaultdict(list)
    candidates = peer.candidates(row, size)
    alive = set(range(len(candidates)))
    for _ in range(_REPEATS):
        for path in paths:
            for index in sorted(alive):
                try:
                    sample = pace.measure(peer, path, row, candidates[index], size)
                    bandwidths[index, path.name].append(sample.bandwidth)
                except MeasurementError as error:
                    say(f'{path.name} {row.name} {row.test} {format_size(size)} {candidates[index]}: {error}')
        alive = promising(bandwidths) if bandwidths else alive
    return bandwidths
