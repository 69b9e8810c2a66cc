"""iperf3: a stream of bytes in blocks of the wanted size; it knows no messages."""
import json
import shutil

from .. import processes
from ..model import MeasurementError, Sample
from .base import Peer, timeout_s

_BLOCK_BYTES_MAX = 1 << 20


class Iperf3(Peer):
    name = 'iperf3'
    key = 'iperf3'
    package = 'iperf3'
    tests = ('send_bw',)
    fixed = '-N, one stream (more share one thread), default socket buffers'

    def missing(self):
        return None if shutil.which('iperf3') else 'iperf3 is not installed'

    def unfit(self, row, size):
        return 'its blocks are at most 1 MiB' if size > _BLOCK_BYTES_MAX else None

    def measure(self, path, row, settings, work):
        server = ['iperf3', '-s', '-1', '-B', path.server_address, '-p', work.port]
        client = ['iperf3', '-c', path.server_address, '-p', work.port, '-l', work.size, '-k', work.iterations, '-N',
                  '-J', '-i', 0, '--connect-timeout', 5000]
        pair = processes.run_pair(path.server + server, path.client + client, {}, timeout_s(work), work.port)
        sample = parse(pair.client_output, work.size)
        sample.command, sample.foreign_cpu = pair.command, pair.foreign_cpu
        return sample


def parse(text, size):
    """Bytes and seconds of the receiver; CPU from the percentages that iperf3 measures on both sides."""
    try:
        document = json.loads(text)
    except ValueError:
        raise MeasurementError(f'iperf3 printed no JSON: {text[:200]!r}') from None
    if 'error' in document:
        raise MeasurementError(f'iperf3: {document["error"]}')
    end = document['end']
    received, cpu = end['sum_received'], end['cpu_utilization_percent']
    if received['seconds'] <= 0 or received['bytes'] < size:
        raise MeasurementError('iperf3 received nothing')
    cpu_s = (cpu['host_total'] + cpu['remote_total']) / 100 * end['sum_sent']['seconds']
    return Sample(seconds=received['seconds'], operations=received['bytes'] // size, size=size, cpu_s=cpu_s)
