"""Two namespaces joined by two links, over which routes of equal cost spread connections by their ports."""
import subprocess

from driver import paths

from . import path
from .path import MIB, Failed, FirstPart, Phase

CLIENT_ADDRESS, SERVER_ADDRESS = '10.79.0.1', '10.79.0.2'
ATTEMPTS = 100  # to get the sockets on the links where they should be
END_S = 10


class Program(path.Program):
    def __init__(self, namespace, *command):
        self._process = subprocess.Popen([*namespace.enter, *command], text=True, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, start_new_session=True)
        self.first_line = self.read()

    def read(self):
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f'message_path ended with status {self._process.wait()}')
        return line.strip()

    def write(self, line):
        self._process.stdin.write(line + '\n')
        self._process.stdin.flush()

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Links:
    NAME = 'live'
    # The state is the rate of each link; None is no limit: the processors are the bound.
    PHASES = (Phase('fast', (None, None), 2400, 8 * MIB),
              Phase('one link slow', ('2gbit', '500mbit'), 200, 8 * MIB),
              Phase('both slow', ('1gbit', '1gbit'), 100, 8 * MIB),
              Phase('fast again', (None, None), 2400, 8 * MIB))
    FIRST_PART = FirstPart(('1gbit', '1gbit'), '1 Gb/s a link', 64 * MIB)

    def __init__(self, program):
        self._program = program
        self._client, self._server = paths.Namespace('live-client'), paths.Namespace('live-server')
        self._programs = []
        for link in (0, 1):
            self._client.run(f'ip link add veth{link} type veth peer name veth{link} netns {self._server.pid}')
            for namespace, host in ((self._client, 1), (self._server, 2)):
                namespace.run(f'ip address add 10.78.{link}.{host}/24 dev veth{link}')
                namespace.run(f'ip link set veth{link} up')
        for here, host, there, gate in ((self._client, CLIENT_ADDRESS, SERVER_ADDRESS, 2),
                                        (self._server, SERVER_ADDRESS, CLIENT_ADDRESS, 1)):
            here.run(f'ip address add {host}/32 dev lo')
            here.run('sysctl -q -w net.ipv4.fib_multipath_hash_policy=1')
            here.run(f'ip route add {there}/32 src {host} nexthop via 10.78.0.{gate} nexthop via 10.78.1.{gate}')
        self._address = self._start(self._server, 'serve', 'tcp', f'{SERVER_ADDRESS}:0').first_line

    def describe(self):
        return {'transport': 'tcp', 'emulated': False}

    def counters(self):
        return {}

    def _start(self, namespace, *arguments):
        program = Program(namespace, self._program, *arguments)
        self._programs.append(program)
        return program

    def set(self, rates):
        for link, rate in enumerate(rates):
            if rate is None:
                self._client.run(f'tc qdisc replace dev veth{link} root pfifo')
            else:
                self._client.run(f'tc qdisc replace dev veth{link} root tbf rate {rate} burst 256kb latency 20ms')

    def _sent(self):
        return [int(self._client.run(f'cat /sys/class/net/veth{link}/statistics/tx_bytes')) for link in (0, 1)]

    def _shares(self, sender, count, size_bytes):
        """Of what these messages bring over each link."""
        before = self._sent()
        sender.send(count, size_bytes)
        sent = [now - then for now, then in zip(self._sent(), before)]
        return [bytes_sent / sum(sent) for bytes_sent in sent]

    def connect(self, policy):
        """A sender whose rails are on different links, and the frames of both on the faster one. Where a fast rail's
        frames wait behind the slow rail's payload it is slow as well, and what senders show is how their sockets fell.
        Small messages are in their frames."""
        for _ in range(ATTEMPTS):
            sender = self._start(self._client, 'send', 'tcp', self._address, policy)
            if min(self._shares(sender, 4, 16 * MIB)) > 0.2 and self._shares(sender, 64, 8 << 10)[1] < 0.1:
                return sender
            self._programs.remove(sender)
            sender.close()
        raise Failed(f'in {ATTEMPTS} attempts no session had its sockets on the links where they should be')

    def close(self):
        for program in self._programs:
            program.close()
        self._client.close()
        self._server.close()
