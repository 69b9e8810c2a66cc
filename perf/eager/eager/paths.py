"""Where it is measured: on this host, or between two guests that are far from each other."""
import json
import subprocess

from rig import choose

LIMIT_S = 120
DELAY = '1ms'  # each way: a round trip of 2 ms


class Failed(Exception):
    pass


def _document(status, out, error):
    if status != 0:
        lines = (error or out).strip().splitlines() or ['no message']
        raise Failed(f'mcp-perf: exit status {status}: {lines[-1][:300]}')
    return json.loads(out)


class Here:
    NAME = 'eager'

    def __init__(self, options):
        self._program = options.mcp_perf

    def describe(self):
        return {'path': '127.0.0.1', 'emulated': False}

    def measure(self, command):
        command = [self._program, '--loopback', '-B', '127.0.0.1', *map(str, command)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(error) from None
        return _document(done.returncode, done.stdout, done.stderr)

    def close(self):
        pass


class Far:
    NAME = 'eager-far'

    def __init__(self, options):
        self._program = options.mcp_perf
        self._server, self._client = choose.two(options.kernel)
        for machine in (self._server, self._client):
            machine.check(f'/usr/sbin/tc qdisc add dev {machine.link} root netem delay {DELAY} limit 10000')

    def describe(self):
        return {'path': f'two guests, {DELAY} each way', 'emulated': True, 'guest_kernel': self._client.kernel}

    def measure(self, command):
        server = self._server.start_server([self._program, '--once', '--transport', 'tcp'], LIMIT_S)
        try:
            done = self._client.run([self._program, self._server.address, *command], LIMIT_S)
        finally:
            server.kill()
            server.wait()
        return _document(done.status, done.out, done.error)

    def close(self):
        for machine in (self._client, self._server):
            machine.close()
