"""This host as the machine: with a real RDMA device, or with rxe where its module can be loaded."""
import os
import pathlib
import shutil
import subprocess
import sys

from . import network
from .machine import Machine, RigError

DEVICES = pathlib.Path('/sys/class/infiniband')
AGENT = pathlib.Path(__file__).resolve().parent / 'agent.py'
LINK, PEER = 'mcprxe0', 'mcprxe1'
READY_S = 20
# It hangs on a pipe to the driver, so the link goes when the driver goes, even by SIGKILL.
_HOLD = f'cat; {network.RDMA} link delete {network.DEVICE}; {network.IP} link delete {LINK}'


def real_devices():
    """The RDMA devices of this host with an active port, without rxe ones: those are somebody else's work."""
    if not DEVICES.is_dir():
        return []
    return [device.name for device in sorted(DEVICES.iterdir())
            if not device.name.startswith('rxe')
            and any('ACTIVE' in (port / 'state').read_text() for port in (device / 'ports').iterdir())]


def rxe_missing():
    """Why rxe cannot be had on this host, or nothing."""
    if os.geteuid() != 0:
        return 'loading rdma_rxe needs root'
    if not shutil.which('modprobe'):
        return 'modprobe is not installed (Debian: kmod)'
    done = subprocess.run(['modprobe', 'rdma_rxe'], capture_output=True, text=True, timeout=30)
    lines = done.stderr.strip().splitlines() or ['no reason given']
    return f'modprobe rdma_rxe: {lines[-1]}' if done.returncode else None


class LocalMachine(Machine):
    def __init__(self, name, disposable):
        process = subprocess.Popen([sys.executable, '-S', str(AGENT), '-'], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, start_new_session=True)
        super().__init__(name, process, lambda: '', disposable)
        self._holder = None
        self.wait_until_ready(READY_S)

    def make_rxe(self):
        network.make_veth_device(self, LINK, PEER)
        self._holder = subprocess.Popen(['sh', '-c', _HOLD], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        start_new_session=True)

    def close(self):
        """The agent ends what it started when its input ends; then the device goes."""
        for process in filter(None, (self._process, self._holder)):
            process.stdin.close()
            process.wait()


def _address(device, family):
    """An address of the network device under an RDMA device."""
    for link in pathlib.Path(DEVICES, device, 'device/net').glob('*'):
        shown = subprocess.run([network.IP, '-br', family, 'address', 'show', 'dev', link.name, 'scope', 'global'],
                               capture_output=True, text=True, timeout=10)
        for word in shown.stdout.split()[2:]:
            return link.name, word.partition('/')[0]
    return None, None


def open_real(device):
    machine = LocalMachine(f'this host with {device}', disposable=False)
    machine.device = device
    machine.link, machine.address = _address(device, '-4')
    machine.address6 = _address(device, '-6')[1]
    if not machine.address:
        machine.close()
        raise RigError(f'{device} has no IPv4 address')
    return machine


def open_rxe():
    machine = LocalMachine('this host with rxe', disposable=True)
    try:
        machine.make_rxe()
        return machine
    except BaseException:
        machine.close()
        raise
