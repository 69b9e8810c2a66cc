"""The two ways between the two processes: one host's loopback, or a veth pair between two network namespaces.

A namespace lives as long as its holder, a `cat` on a pipe from this process: when the driver ends, however it ends, the
pipe closes, the holder ends, and the kernel takes namespace, addresses and veth pair with it.
"""
import os
import signal
import subprocess

LOOPBACK, VETH = 'loopback', 'veth'
PATHS = (LOOPBACK, VETH)
_CLIENT_ADDRESS, _SERVER_ADDRESS, _SUBNET = '10.77.0.1', '10.77.0.2', '10.77.0.0/24'
# /sys shows the network devices of the namespace in which it was mounted, and UCX looks there.
_HOLD = 'echo "$1" >/proc/sys/kernel/hostname && mount -t sysfs sysfs /sys && echo ready && exec cat'


class PathError(Exception):
    pass


class Namespace:
    """Own network devices, own /sys and own host name."""

    def __init__(self, hostname):
        self._holder = subprocess.Popen(['unshare', '--net', '--mount', '--uts', 'sh', '-c', _HOLD, 'sh', hostname],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        start_new_session=True)  # Ctrl-C is for the driver to handle
        self.pid = self._holder.pid
        if self._holder.stdout.readline() != b'ready\n':
            self._holder.kill()
            raise PathError('cannot make a network namespace: ' + self._holder.stderr.read().decode().strip())
        self.enter = ['nsenter', '--target', str(self.pid), '--net', '--mount', '--uts', '--']
        self._identity = os.readlink(f'/proc/{self.pid}/ns/net')
        if self._identity == os.readlink('/proc/self/ns/net'):
            raise PathError('unshare did not make a network namespace')
        self.run('ip link set lo up')

    def run(self, command):
        done = subprocess.run(self.enter + command.split(), capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise PathError(f'{command}: {done.stderr.strip()}')
        return done.stdout

    def close(self):
        self._end_members()
        self._holder.stdin.close()
        try:
            self._holder.wait(5)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait(5)

    def _end_members(self):
        """Whatever an interrupted measurement left in here: only this driver ever starts anything in its namespaces."""
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            try:
                if pid != self.pid and os.readlink(f'/proc/{pid}/ns/net') == self._identity:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has ended, or is none of ours


class Path:
    """Where the two sides run and how they reach each other; commands are prefixed with `server` or `client`."""

    def __init__(self, name, server, client, server_address, client_address, device, description):
        self.name = name
        self.server, self.client = server, client
        self.server_address, self.client_address = server_address, client_address
        self.device = device
        self.description = description
        self.namespaces = ()

    @property
    def spans_namespaces(self):
        return len(self.namespaces) == 2

    def close(self):
        for namespace in self.namespaces:
            namespace.close()


def _set_congestion(namespace, table, destination, route, algorithm):
    """A route's metric, not a sysctl: it rules sockets that connect and sockets that are accepted, whatever they asked
    for before, needs no change of the host, and takes algorithms that tcp_allowed_congestion_control does not name."""
    namespace.run(f'ip route change {route} table {table} congctl {algorithm}')
    if f'congctl {algorithm}' not in namespace.run(f'ip route show table {table} {destination}'):
        raise PathError(f'the route to {destination} did not take congestion control {algorithm}')


def make_loopback(algorithm):
    namespace = Namespace('peers-loopback')
    route = 'local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1'
    _set_congestion(namespace, 'local', '127.0.0.1', route, algorithm)
    path = Path(LOOPBACK, namespace.enter, namespace.enter, '127.0.0.1', '127.0.0.1', 'lo',
                f'127.0.0.1 in a network namespace of its own, MTU 65536, congestion control {algorithm}')
    path.namespaces = (namespace,)
    return path


def make_veth(algorithm):
    client, server = Namespace('peers-client'), Namespace('peers-server')
    client.run(f'ip link add veth0 type veth peer name veth0 netns {server.pid}')
    for namespace, address in ((client, _CLIENT_ADDRESS), (server, _SERVER_ADDRESS)):
        namespace.run(f'ip address add {address}/24 dev veth0')
        namespace.run('ip link set veth0 up')
        route = f'{_SUBNET} dev veth0 proto kernel scope link src {address}'
        _set_congestion(namespace, 'main', _SUBNET, route, algorithm)
    path = Path(VETH, server.enter, client.enter, _SERVER_ADDRESS, _CLIENT_ADDRESS, 'veth0',
                'a veth pair between two network namespaces, MTU 1500 with segmentation offload, '
                f'congestion control {algorithm}')
    path.namespaces = (client, server)
    return path


def make_host_loopback():
    with open('/proc/sys/net/ipv4/tcp_congestion_control') as file:
        algorithm = file.read().strip()
    return Path(LOOPBACK, [], [], '127.0.0.1', '127.0.0.1', 'lo',
                f"127.0.0.1 of the host itself (not root: no namespace), the host's congestion control {algorithm}")


def make_paths(names, algorithm):
    """Returns the paths and what is missing of them, as (name, reason)."""
    if os.geteuid() != 0:
        skipped = [(VETH, 'needs root to make network namespaces')] if VETH in names else []
        return [make_host_loopback()] if LOOPBACK in names else [], skipped
    makers = {LOOPBACK: make_loopback, VETH: make_veth}
    return [makers[name](algorithm) for name in names], []
