"""mcp itself, driven by mcp-perf."""
import json
import os
import pathlib
import subprocess

from .. import model, processes
from ..model import MeasurementError, Row, Sample
from .base import Peer, timeout_s, windows

# The peers verify nothing, so `off` is the same work; `all` is what users get.
CHECKSUM_OFF, CHECKSUM_ALL = 'checksum off', 'checksum all'
VARIANTS = (CHECKSUM_OFF, CHECKSUM_ALL)


class Mcp(Peer):
    name = 'mcp'
    key = 'mcp'
    tests = model.TESTS
    fixed = 'mcp-perf --transport tcp --no-verify (the bytes are verified by a run before), defaults else'

    def missing(self):
        program = pathlib.Path(self.context.mcp_perf)
        return None if os.access(program, os.X_OK) else f'{program} is not there: ./dev build'

    def version(self):
        done = subprocess.run([self.context.mcp_perf, '--version'], capture_output=True, text=True)
        return done.stdout.strip() or 'unknown'

    def rows(self):
        return [Row(self.name, variant, test) for test in self.tests for variant in VARIANTS]

    def candidates(self, row, size):
        if model.is_latency(row.test):
            return [{}]
        low, middle, high = windows(size)
        return [{'outstanding': window} for window in (middle, low, high)]

    def measure(self, path, row, settings, work):
        return self._run(path, row, settings, work, ['--no-verify'])

    def verify(self, path, row, settings, work):
        """A short run that checks every byte; raises MeasurementError where one is wrong."""
        self._run(path, row, settings, work, [])

    def _run(self, path, row, settings, work, extra):
        common = [self.context.mcp_perf, '-p', work.port, '--transport', 'tcp', '--quiet']
        server = common + ['--once', '-B', path.server_address]
        client = common + [path.server_address, '-t', row.test, '-s', work.size, '-D', f'{work.seconds:g}',
                           '--checksum', row.variant.removeprefix('checksum '), '--json', '-', *extra]
        if 'outstanding' in settings:
            client += ['-o', settings['outstanding']]
        at_server, at_client = self.prefixes(path, row)
        pair = processes.run_pair(at_server + server, at_client + client, {}, timeout_s(work), work.port)
        sample = parse(pair.client_output, row.test)
        sample.command, sample.foreign_cpu = pair.command, pair.foreign_cpu
        return sample


def parse(text, test):
    """Reads the one result of an mcp-perf/1 document."""
    try:
        document = json.loads(text)
    except ValueError:
        raise MeasurementError(f'mcp-perf printed no JSON: {text[:200]!r}') from None
    if document.get('schema') != 'mcp-perf/1' or len(document.get('results', [])) != 1:
        raise MeasurementError(f'not a document of mcp-perf/1 with one result: {text[:200]!r}')
    result = document['results'][0]
    if result['error']:
        raise MeasurementError(f'mcp-perf: {result["error"]}')
    if result['operations'] == 0:
        raise MeasurementError('mcp-perf: no operation completed')
    latency = result['latency_us'] if model.is_latency(test) else {}
    cpu = result['cpu_s']
    return Sample(seconds=result['seconds'], operations=result['operations'], size=result['size_bytes'],
                  cpu_s=cpu['local'] + cpu['remote'], p50_us=latency.get('p50'), p99_us=latency.get('p99'),
                  chosen={name: document['local'][name] for name in ('device', 'rails') if name in document['local']})
