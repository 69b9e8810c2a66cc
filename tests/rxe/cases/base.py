"""What the cases share: machines that outlive a case, and mcp-perf on them."""
import json
import pathlib
import re
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'process'))

import mcp_perf_schema  # noqa: E402
from rig import choose  # noqa: E402

# Of every measurement: emulation is slow, and one operation of each kind says what there is to say.
BRIEF = ('-n', '20', '-w', '2', '--quiet')
# A peer that is gone is an error within mcp-perf's own time-out of 5 s; the rest is for the emulation.
GONE_S = 30
UNDER_WAY_BYTES = 4 << 20  # a transfer that moved as much is neither its handshake nor its end


class Setting:
    """What the command line chose. TRANSPORT is empty for a build without verbs."""
    kernel = mcp_perf = mcp_info = contract_tests = transport = ''


class Machines:
    """Boots what the cases need, once. There is one set at a time, so that two cores serve at most two guests."""

    def __init__(self):
        self._count, self._machines = 0, []

    def get(self, count):
        if self._count != count:
            self.close()
            self._machines = [choose.one(Setting.kernel)] if count == 1 else choose.two(Setting.kernel)
            self._count = count
        return self._machines

    def close(self):
        for machine in self._machines:
            machine.close()
        self._count, self._machines = 0, []


MACHINES = Machines()


class Case(unittest.TestCase):
    def machines(self, count):
        try:
            return MACHINES.get(count)
        except choose.NoMachine as error:
            self.skipTest(str(error))

    def one(self):
        return self.machines(1)[0]

    def two(self):
        return self.machines(2)

    def run(self, result=None):
        """A machine that stopped answering is no machine for the next case."""
        result = result or self.defaultTestResult()
        failed = len(result.errors)
        super().run(result)
        if len(result.errors) > failed:
            MACHINES.close()
        return result

    def need_verbs(self):
        if not Setting.transport:
            self.skipTest('this build has no verbs transport')

    def shell(self, machine, command, limit_s=60):
        """Runs what must succeed."""
        result = machine.run(command, limit_s)
        self.assertEqual(result.status, 0, f'{command}: {result}')
        return result.out

    def lose(self, machine, share):
        """From now on that share of the packets that leave the machine is lost. Changed in place: what rxe wants to send
        while a link has no discipline ends the device's own queue pair, and with it all connecting."""
        qdisc = f'/usr/sbin/tc qdisc {{}} dev {machine.link} root netem loss {share} limit 10000'
        self.shell(machine, f'{qdisc.format("change")} 2>/dev/null || {qdisc.format("add")}')

    def lost(self, machine):
        """How many packets that was so far."""
        shown = self.shell(machine, f'/usr/sbin/tc -s qdisc show dev {machine.link} root')
        return int(re.search(r'dropped (\d+)', shown)[1])


class Perf(Case):
    """mcp-perf between two guests: self.server_machine and self.client_machine, once start_server has run."""

    def start_server(self):
        self.need_verbs()
        self.server_machine, self.client_machine = self.two()
        self.server = self.server_machine.start([Setting.mcp_perf], limit_s=300)
        self.addCleanup(self.end, self.server)
        self.server.wait_for_text('listening on')

    def end(self, command):
        """Also one that hangs in its kernel: then there is no machine for the next case."""
        command.kill()
        command.wait(GONE_S)

    def start_client(self, *options, address=None):
        return self.client_machine.start(
            [Setting.mcp_perf, address or self.server_machine.address, '--transport', Setting.transport, '--json', '-',
             *options], limit_s=200)

    def start_transfer(self, test='put_bw', duration_s=60, size='64K', options=()):
        """A client in the middle of a transfer that would go on for so long."""
        client = self.start_client('-t', test, '-s', size, '-D', str(duration_s), '--quiet', *options)
        self.addCleanup(self.end, client)
        before = self.moved_bytes()
        deadline = time.monotonic() + GONE_S
        while self.moved_bytes() < before + UNDER_WAY_BYTES:
            self.assertIsNone(client.status, f'{client.text()}{client.text("error")}')
            self.assertLess(time.monotonic(), deadline, 'the transfer does not begin')
        return client

    def moved_bytes(self, link=None):
        """What crossed the link so far, in either direction: rxe's packets are the network device's."""
        counters = f'/sys/class/net/{link or self.client_machine.link}/statistics'
        return sum(map(int, self.shell(self.client_machine, f'cat {counters}/tx_bytes {counters}/rx_bytes').split()))

    def document(self, result, status=0):
        """The document of a client that ended: held against the schema, and without wrong bytes."""
        self.assertEqual(result.status, status, result)
        document = json.loads(result.out)
        mcp_perf_schema.check(document)
        for line in document['results']:
            self.assertNotIn('was sent', line['error'] or '', 'wrong bytes arrived')
            self.assertEqual(line['checksum_failures'], 0)
        if status in (0, 1):
            self.assertEqual(document['local']['transport'], Setting.transport)
        return document

    def measure(self, *options, brief=BRIEF, **where):
        """Runs a client to its end; every test passed and every byte was verified."""
        document = self.document(self.start_client(*options, *brief, **where).wait())
        self.assertEqual([line['error'] for line in document['results']], [None] * len(document['results']))
        return document

    def assert_fails_in_time(self, client):
        """The client ends by itself with an error for its transfer."""
        document = self.document(client.wait(GONE_S), status=1)
        self.assertTrue(all(line['error'] for line in document['results']), document['results'])

    def assert_serves(self):
        self.measure('-t', 'put_bw,send_bw', '-s', '4K')
