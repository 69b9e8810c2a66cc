"""UCX over TCP, driven by its own ucx_perftest."""
import shutil
import statistics

from .. import model, processes
from ..model import MeasurementError, Sample
from .base import Peer, timeout_s

_TESTS = {'put_bw': 'ucp_put_bw', 'send_bw': 'tag_bw', 'get_bw': 'ucp_get', 'put_lat': 'ucp_put_lat',
          'send_lat': 'tag_lat'}
_LARGE_BYTES = 16 << 20
# ucx_perftest never writes what it sends: beyond its first huge page, all of that is the kernel's one page of zeros, which
# stays in cache. From the heap that fills what it hands out, both buffers are memory, on huge pages as otherwise.
_TOUCHED = {'UCX_ALLOC_PRIO': 'heap', 'GLIBC_TUNABLES': 'glibc.malloc.perturb=90:glibc.malloc.hugetlb=1'}
_HUGE_PAGE_BYTES = 2 << 20
_COLUMNS = 8  # iterations, percentile, average and overall latency, 2 bandwidths, 2 message rates


class Ucx(Peer):
    name = 'UCX'
    key = 'ucx'
    package = 'libucx0'
    tests = model.TESTS
    fixed = 'ucx_perftest, UCX_TLS=tcp, polling'

    def __init__(self, context):
        super().__init__(context)
        self._startup_cpu_s = {}

    def missing(self):
        return None if shutil.which('ucx_perftest') else 'ucx_perftest is not installed'

    def is_one_spinner(self, row):
        return True

    def candidates(self, row, size):
        choice = self.windowed(row, size)
        if row.test in ('put_bw', 'get_bw') and size >= 64 << 10:  # puts in flight slow each other down
            choice = [{'window': 1}] + [one for one in choice if one['window'] != 1]
        if size < 4 << 10 or model.is_latency(row.test):
            return choice
        # Copy-out buffers; by default 8 KiB, which costs large puts two thirds of their speed.
        return [{**one, 'segment': '128k'} for one in choice] + choice

    def measure(self, path, row, settings, work):
        """ucx_perftest gives one percentile a run and no CPU time: that is the processes' whole, less that of a run of
        a single operation."""
        startup_cpu_s = self._startup(path, row, settings, work)
        latencies = model.is_latency(row.test)
        iterations = max(1, work.iterations // 2) if latencies else work.iterations
        values, pair = self._run(path, row, settings, work, iterations, work.warmup)
        cpu_s = pair.usage_s - startup_cpu_s
        sample = Sample(seconds=iterations / values['rate'], operations=iterations, size=work.size,
                        cpu_s=cpu_s if cpu_s > 0 else None, cpu_operations=iterations + work.warmup - 1,
                        command=pair.command, foreign_cpu=pair.foreign_cpu)
        if latencies:
            sample.p50_us = values['latency']
            sample.p99_us = self._run(path, row, settings, work, iterations, work.warmup, 99)[0]['latency']
        return sample

    def _startup(self, path, row, settings, work):
        """CPU seconds of starting both sides, touching their buffers, and one operation."""
        key = (path.name, row.test, work.size)
        if key not in self._startup_cpu_s:
            repeats = 3 if work.size >= _LARGE_BYTES else 1  # touching large buffers varies
            runs = [self._run(path, row, settings, work, 1, 0)[1].usage_s for _ in range(repeats)]
            self._startup_cpu_s[key] = statistics.median(runs)
        return self._startup_cpu_s[key]

    def _run(self, path, row, settings, work, iterations, warmup, percentile=50):
        environment = {'UCX_TLS': 'tcp', 'UCX_NET_DEVICES': path.device, 'UCX_WARN_UNUSED_ENV_VARS': 'n'}
        if 'segment' in settings:
            environment['UCX_TCP_TX_SEG_SIZE'] = environment['UCX_TCP_RX_SEG_SIZE'] = settings['segment']
        if work.size > _HUGE_PAGE_BYTES:
            environment |= _TOUCHED
        server = ['ucx_perftest', '-p', work.port]
        client = ['ucx_perftest', path.server_address, '-p', work.port, '-t', _TESTS[row.test], '-s', work.size,
                  '-n', iterations, '-w', warmup, '-O', settings.get('window', 1), '-R', percentile, '-f', '-v']
        at_server, at_client = self.prefixes(path, row)
        pair = processes.run_pair(at_server + server, at_client + client, environment, timeout_s(work), work.port)
        return parse(pair.client_output, work.size), pair


def parse(text, size):
    """Returns latency (us; half a round trip in latency tests) and rate (operations a second) of its CSV. The rate is
    that of the bandwidth, in MiB/s: its own column has no decimals, and large messages few a second."""
    for line in reversed(text.strip().splitlines()):
        fields = line.split(',')
        if len(fields) == _COLUMNS and fields[0].strip().isdigit():
            return {'latency': float(fields[1]), 'rate': _positive(float(fields[5])) * (1 << 20) / size}
    raise MeasurementError(f'no figures in the output of ucx_perftest: {text.strip()[-200:]!r}')


def _positive(bandwidth):
    if bandwidth <= 0:
        raise MeasurementError('ucx_perftest reports a bandwidth of 0')
    return bandwidth
