"""JSON lines, one a measurement, after one line that describes the run. Schema mcp-peers/1."""
import datetime
import json
import os
import pathlib
import platform
import subprocess

from . import build
from .model import Row, Sample

SCHEMA = 'mcp-peers/1'


def commit(root):
    """The commit that is measured; `-dirty` when files that git tracks differ from it."""
    def git(*arguments):
        done = subprocess.run(['git', '-C', str(root), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ''
    head = git('rev-parse', 'HEAD')
    if not head:
        return 'unknown'
    changes = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!perf/results')
    return head + ('-dirty' if changes else '')


def _first(path, prefix):
    try:
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith(prefix):
                return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return 'unknown'


def _portable(command):
    """As one would give it in the repository's top folder."""
    return command.replace(f'{build.ROOT}/', '')


def environment():
    return {'time': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            'cpu_model': _first('/proc/cpuinfo', 'model name'), 'cpus': os.cpu_count(),
            'memory': _first('/proc/meminfo', 'MemTotal'), 'kernel': platform.release(),
            'load_before': list(os.getloadavg())}


class Results:
    """Appends as it goes, so that an interrupted run keeps what it has."""

    def __init__(self, file, commit_name):
        self._file = file
        self._commit = commit_name
        self.run = {}
        self.samples = []

    def begin(self, **description):
        self.run = {'kind': 'run', **description}
        self._write(self.run)

    def skipped(self, peer, reason):
        self._append({'kind': 'skip', 'peer': peer, 'reason': reason})

    def unfit(self, row, size, reason):
        self._append({'kind': 'unfit', 'peer': row.peer, 'variant': row.variant, 'test': row.test, 'size_bytes': size,
                      'reason': reason})

    def failure(self, path, row, size, number, error):
        self._append({'kind': 'failure', 'path': path.name, 'peer': row.peer, 'variant': row.variant, 'test': row.test,
                      'size_bytes': size, 'round': number, 'error': error})

    def sample(self, path, row, size, number, settings, sample: Sample):
        self._append({'kind': 'sample', 'path': path.name, 'peer': row.peer, 'variant': row.variant, 'test': row.test,
                      'size_bytes': size, 'round': number, 'settings': {**settings, **sample.chosen},
                      'seconds': round(sample.seconds, 6), 'operations': sample.operations,
                      'bandwidth_bytes_per_s': round(sample.bandwidth),
                      'operations_per_s': round(sample.operations / sample.seconds, 1),
                      'p50_us': sample.p50_us, 'p99_us': sample.p99_us,
                      'cpu_s_per_gb': None if sample.cpu_s_per_gb is None else round(sample.cpu_s_per_gb, 5),
                      'foreign_cpu': None if sample.foreign_cpu is None else round(sample.foreign_cpu, 3),
                      **({'command': _portable(sample.command)} if number == 1 else {})})

    def _append(self, record):
        self.samples.append(record)
        self._write(record)

    def _write(self, record):
        self._file.write(json.dumps({'schema': SCHEMA, 'commit': self._commit, **record}) + '\n')
        self._file.flush()


def read(lines):
    """Returns the description of the run and its records."""
    records = [json.loads(line) for line in lines if line.strip()]
    wrong = [record for record in records if record.get('schema') != SCHEMA]
    if wrong or not records or records[0]['kind'] != 'run':
        raise ValueError(f'not a file of {SCHEMA}')
    return records[0], records[1:]


def row_of(record):
    return Row(record['peer'], record['variant'], record['test'])
