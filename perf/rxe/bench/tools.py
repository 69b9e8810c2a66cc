"""What is measured: one class a tool, each doing the same work over the machine's device.

`measure` returns one figure: bytes per second, or for put_lat the median of half a round trip in microseconds.
"""
import json
import shutil

from driver.adapters import ucx

LATENCY, WRITE, READ = 'put_lat', 'put_bw', 'get_bw'
LIMIT_S = 120
MIB = 1 << 20


class ToolError(Exception):
    pass


class Work:
    """One cell of the table: what to do, how often, how much of it at once."""

    def __init__(self, test, size, operations, outstanding):
        self.test, self.size, self.operations, self.outstanding = test, size, operations, outstanding
        self.warmup = max(2, operations // 10)


def _checked(result):
    if result.status != 0:
        lines = (result.error or result.out).strip().splitlines() or ['no message']
        raise ToolError(f'exit status {result.status}: {lines[-1][:300]}')
    return result.out


def _run_pair(machine, server_command, client_command):
    """The server, and once it listens the client. Returns the client's output."""
    server = machine.start_server(server_command, LIMIT_S)
    try:
        return _checked(machine.run(client_command, LIMIT_S))
    finally:
        server.kill()
        server.wait()


class Mcp:
    name = 'mcp'

    def __init__(self, program, transport):
        self._program, self._transport = program, transport

    def missing(self):
        return None

    def measure(self, machine, work):
        """Both sides on the device's address. Neither side verifies, as the other tools do not."""
        out = _checked(machine.run(
            [self._program, '--loopback', '--bind', machine.address, '--transport', self._transport, '-t', work.test,
             '-s', work.size, '-n', work.operations, '-w', work.warmup, '-o', work.outstanding, '--rails', '1',
             '--no-verify', '--checksum', 'off', '--json', '-', '--quiet'], LIMIT_S))
        result, = json.loads(out)['results']
        return result['latency_us']['p50'] if work.test == LATENCY else result['bandwidth_bytes_per_s']


class Perftest:
    name = 'perftest'
    programs = {WRITE: 'ib_write_bw', LATENCY: 'ib_write_lat', READ: 'ib_read_bw'}

    def missing(self):
        return None if shutil.which('ib_write_bw') else 'ib_write_bw is not installed (Debian: perftest)'

    def measure(self, machine, work):
        command = [self.programs[work.test], '-F', '-d', machine.device, '-s', work.size, '-n', work.operations]
        if work.test != LATENCY:
            command += ['-t', work.outstanding]
        return parse_perftest(_run_pair(machine, command, [*command, machine.address]), work)


def parse_perftest(out, work):
    """bandwidth: bytes, iterations, peak, average (MiB/s), rate; latency: bytes, iterations, min, max, typical, ..."""
    for line in out.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[:2] == [str(work.size), str(work.operations)]:
            figure = float(fields[4]) if work.test == LATENCY else float(fields[3]) * MIB
            if figure > 0:  # where its clock stood still there is none
                return figure
    raise ToolError(f'no figures in the output of perftest: {out.strip()[-200:]!r}')


class Ucx:
    """UCT, the layer of UCX that posts to the device: UCP, its layer above, does not come up over rxe (1.13)."""
    name = 'UCX'
    tests = {WRITE: ('put_bw', 'zcopy'), LATENCY: ('put_lat', 'bcopy'), READ: ('get', 'zcopy')}

    def missing(self):
        return None if shutil.which('ucx_perftest') else 'ucx_perftest is not installed (Debian: ucx-utils)'

    def measure(self, machine, work):
        test, layout = self.tests[work.test]
        client = ['ucx_perftest', machine.address, '-d', f'{machine.device}:1', '-x', 'rc_verbs', '-t', test, '-D', layout,
                  '-s', work.size, '-n', work.operations, '-w', work.warmup, '-O',
                  1 if work.test == LATENCY else work.outstanding, '-f', '-v']
        values = ucx.parse(_run_pair(machine, ['ucx_perftest'], client), work.size)
        return values['latency'] if work.test == LATENCY else ucx.positive(values['rate']) * work.size
