"""What every adapter is, and what those of our own small programs share."""
import dataclasses
import json
import os
import subprocess

from .. import build, model, processes
from ..model import MeasurementError, Row, Sample


@dataclasses.dataclass
class Context:
    """What adapters need from the command line."""
    program_folder: str  # where our own programs are built
    mcp_perf: str  # the binary
    store_folder: str  # scratch that both sides see


def windows(size):
    """Operations in flight worth trying; the middle one is the default until `--tune` has chosen."""
    for size_max, choice in ((4 << 10, (256, 1024, 4096)), (64 << 10, (16, 64, 256)), (1 << 20, (4, 16, 64)),
                             (16 << 20, (2, 4, 8))):
        if size <= size_max:
            return choice
    return (1, 2, 4)


def spinner_cores():
    """Prefixes that give the server and the client a core each; nothing where there is one core only."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return [], []
    return ['taskset', '-c', str(cores[1])], ['taskset', '-c', str(cores[0])]


class Peer:
    """An adapter. Settings are a flat dictionary: they are tuned, run with, recorded, and shown."""
    name = ''  # in tables
    key = ''  # on the command line
    package = ''  # Debian's, for its version
    tests = ()
    fixed = ''  # settings that never vary, in words, for the table

    def __init__(self, context):
        self.context = context

    def missing(self):
        """Returns why this peer cannot run here, or None."""
        return None

    def rows(self):
        return [Row(self.name, '', test) for test in self.tests]

    def unfit(self, row, size):
        """Returns why `row` says nothing at `size`, or None."""
        return None

    def candidates(self, row, size):
        """Settings to choose from, the default first."""
        return [{}]

    def is_one_spinner(self, row):
        """Whether each side is a single thread that polls. Such a side gets a core of its own, for all alike; what has
        several threads is left to the scheduler."""
        return False

    def prefixes(self, path, row):
        """What the server's and the client's command lines begin with."""
        server_core, client_core = spinner_cores() if self.is_one_spinner(row) else ([], [])
        return path.server + server_core, path.client + client_core

    def measure(self, path, row, settings, work):
        """Returns a Sample, or raises MeasurementError."""
        raise NotImplementedError

    def version(self):
        done = subprocess.run(['dpkg-query', '-W', '-f', '${Version}', self.package], capture_output=True, text=True)
        return done.stdout.strip() or 'unknown'

    def windowed(self, row, size):
        """Candidates that differ in their window alone; a latency test has one operation in flight."""
        if model.is_latency(row.test):
            return [{}]
        low, middle, high = windows(size)
        return [{'window': middle}, {'window': low}, {'window': high}]


class OwnProgram(Peer):
    """One of perf/peers/programs: both sides take the same options and print the same line of JSON."""
    program = ''  # also its key

    @property
    def key(self):
        return self.program

    def missing(self):
        try:
            build.build(self.program, self.context.program_folder)
        except build.BuildError as error:
            return str(error)
        return None

    def arguments(self, row, settings, work):
        arguments = [f'{self.context.program_folder}/{self.program}', '--test', row.test, '--size', work.size,
                     '--iterations', work.iterations, '--warmup', work.warmup, '--port', work.port]
        for option in ('window', 'connections'):
            if option in settings:
                arguments += [f'--{option}', settings[option]]
        return arguments

    def environment(self, settings):
        return {}

    def measure(self, path, row, settings, work):
        arguments = self.arguments(row, settings, work) + ['--host', path.server_address]
        server, client = self.prefixes(path, row)
        pair = processes.run_pair(server + arguments + ['--server'], client + arguments, self.environment(settings),
                                  timeout_s(work), work.port)
        return read_own(pair, work)


def timeout_s(work):
    """Ample for a machine under load, and still an end."""
    return 20 + 20 * work.seconds


def read_own(pair, work, server_reports=True):
    client = parse_json(pair.client_output)
    cpu_s = client['cpu_s'] + (parse_json(pair.server_output)['cpu_s'] if server_reports else 0.0)
    return Sample(seconds=client['seconds'], operations=client['operations'], size=work.size, cpu_s=cpu_s,
                  p50_us=client.get('p50_us'), p99_us=client.get('p99_us'), command=pair.command,
                  foreign_cpu=pair.foreign_cpu)


def parse_json(text):
    try:
        return json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise MeasurementError(f'no JSON in its output: {text.strip()[:200]!r}') from None
