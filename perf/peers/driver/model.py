"""The nouns of the driver: what is measured (Row), with which settings, and what came out (Sample)."""
import dataclasses

BANDWIDTH_TESTS = ('put_bw', 'send_bw', 'get_bw')
LATENCY_TESTS = ('put_lat', 'send_lat')
TESTS = BANDWIDTH_TESTS + LATENCY_TESTS
SIZES = (64, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20)
LATENCY_SIZES = (64, 4 << 10)


class MeasurementError(Exception):
    """This one measurement failed; the others go on. The text says why."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: a variant of a peer doing one test."""
    peer: str
    variant: str  # '' where a peer has only one
    test: str

    @property
    def name(self):
        return f'{self.peer}, {self.variant}' if self.variant else self.peer


@dataclasses.dataclass(frozen=True)
class Work:
    """How much one measurement does. Tools that are timed use `seconds`, those that count use `iterations`."""
    size: int
    seconds: float
    iterations: int
    warmup: int
    port: int


@dataclasses.dataclass
class Sample:
    seconds: float
    operations: int
    size: int
    cpu_s: float = None  # both sides together, while `cpu_operations` were done
    cpu_operations: int = None
    p50_us: float = None  # half a round trip
    p99_us: float = None
    command: str = ''
    chosen: dict = dataclasses.field(default_factory=dict)  # settings that the program chose by itself
    foreign_cpu: float = None  # share of the machine that others used meanwhile

    @property
    def bandwidth(self):
        return self.operations * self.size / self.seconds

    @property
    def cpu_s_per_gb(self):
        if self.cpu_s is None:
            return None
        return self.cpu_s / ((self.cpu_operations or self.operations) * self.size / 1e9)


def is_latency(test):
    return test.endswith('_lat')


def parse_size(text):
    factors = {'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
    text = text.strip().upper().removesuffix('IB').removesuffix('B').strip()
    if text and text[-1] in factors:
        return int(text[:-1]) * factors[text[-1]]
    return int(text)


def format_size(size):
    for shift, unit in ((30, 'GiB'), (20, 'MiB'), (10, 'KiB')):
        if size >= 1 << shift and size % (1 << shift) == 0:
            return f'{size >> shift} {unit}'
    return f'{size} B'
