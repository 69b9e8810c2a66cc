"""How many operations make a measurement of the wanted length: learned from each measurement for the next."""
from . import model
from .model import Work

_ITERATIONS_MIN, _ITERATIONS_MAX = 2, 20_000_000
_LATENCY_GUESS_S = 20e-6
_BYTES_PER_S_GUESS, _OPERATIONS_PER_S_GUESS = 1.0e9, 200_000
_SHORT, _TRIES = 0.3, 3  # a measurement shorter than this share of what was wanted is repeated, so many times
_WARMUP_SHARE = 0.1


class Pace:
    def __init__(self, seconds, rates=None):
        self._seconds = seconds
        self._rates = rates if rates is not None else {}  # operations a second by (path, row, size)
        self._port = 20000

    def work(self, path, row, size):
        rate = self._rates.get((path.name, row, size)) or _guess(row.test, size)
        iterations = int(min(max(rate * self._seconds, _ITERATIONS_MIN), _ITERATIONS_MAX))
        warmup = max(1, int(iterations * _WARMUP_SHARE))
        self._port = 20000 + (self._port - 20000 + 2) % 10000  # two: a program may use the next one too
        return Work(size, self._seconds, iterations, warmup, self._port)

    def learn(self, path, row, sample):
        self._rates[path.name, row, sample.size] = sample.operations / sample.seconds

    def measure(self, peer, path, row, settings, size):
        """Measures, again where too few operations were done to say much."""
        for _ in range(_TRIES):
            sample = peer.measure(path, row, settings, self.work(path, row, size))
            self.learn(path, row, sample)
            if sample.seconds >= _SHORT * self._seconds:
                break
        return sample


def _guess(test, size):
    if model.is_latency(test):
        return 1 / _LATENCY_GUESS_S
    return min(_OPERATIONS_PER_S_GUESS, _BYTES_PER_S_GUESS / size)
