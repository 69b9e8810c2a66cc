"""QEMU guests: this host's files, another kernel, and a network that can be broken at will. Plain emulation will do."""
import ctypes
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from . import kernel, network
from .machine import BootError, Machine, RigError

QEMU = 'qemu-system-x86_64'
BOOT_S = 60
# A processor that has these copies strings faster by the byte than by the word, and kernel and libc believe it; emulation
# then takes a step a byte. Without them ib_write_bw of 64 KiB gives 110 MB/s in place of 48.
CPU = 'max,-erms,-fsrm'
PR_SET_PDEATHSIG = 1
_MEMORY_MIB = {1: 4096, 2: 3072}  # by the number of guests; the host gives it only as it is touched


def missing(series):
    """Why no guest with that kernel can run here, or nothing."""
    if platform.machine() != 'x86_64':
        return f'guests are for x86_64 hosts, not {platform.machine()}'
    if not shutil.which(QEMU):
        return f'{QEMU} is not installed (Debian: qemu-system-x86)'
    try:
        kernel.get(series)
    except RigError as error:
        return f'no kernel {series} for a guest: {error}'
    return None


def _die_with_driver(driver):
    def prepare():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:
            os._exit(1)
    return prepare


def _nodes(memory_mib):
    """Two, of a processor and half of the memory each: a host of one is at hand everywhere else."""
    for node in range(2):
        yield from ('-object', f'memory-backend-ram,id=node{node},size={memory_mib // 2}M',
                    '-numa', f'node,nodeid={node},cpus={node},memdev=node{node}')


def _command(series, memory_mib, wires, number):
    vmlinuz, initramfs = kernel.get(series)
    command = [
        QEMU, '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-monitor', 'none',
        '-accel', 'tcg,thread=multi', '-cpu', CPU, '-smp', '2', '-m', str(memory_mib), *_nodes(memory_mib),
        '-kernel', str(vmlinuz), '-initrd', str(initramfs),
        '-append', 'console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable',
        '-virtfs', 'local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap',
        '-device', 'virtio-rng-pci',
        # The agent's port on stdin and stdout, the console on stderr.
        '-chardev', 'stdio,id=agent,signal=off', '-device', 'virtio-serial-pci,max_ports=2',
        '-device', 'virtserialport,chardev=agent,nr=1',
        '-chardev', 'file,id=console,path=/dev/stderr,append=on', '-serial', 'chardev:console']
    for link, wire in enumerate(wires):
        command += ['-netdev', f'dgram,id=wire{link},local.type=fd,local.str={wire.fileno()}', '-device',
                    f'virtio-net-pci,netdev=wire{link},mac=52:54:00:{link:02x}:97:{number:02x},host_mtu=9000,romfile=']
    return command


class Guest(Machine):
    def __init__(self, name, series, memory_mib, wires=(), number=1):
        self._console = tempfile.TemporaryFile('a+b')
        command = _command(series, memory_mib, wires, number)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._console,
                                   pass_fds=[wire.fileno() for wire in wires], start_new_session=True,
                                   preexec_fn=_die_with_driver(os.getpid()))
        super().__init__(name, process, self._console_tail, disposable=True)

    def _console_tail(self):
        """What the guest's kernel said last."""
        self._console.seek(0)
        text = self._console.read().decode(errors='replace').partition('Call Trace:')[0]
        return ''.join(f'\n  {line}' for line in text.splitlines()[-15:] if line.strip())


def _require(series):
    reason = missing(series)
    if reason:
        raise RigError(reason)


def boot_one(series):
    """One guest, with its device on one end of a veth pair."""
    return _twice(_boot_one, series)


def boot_two(series):
    """Two guests on two wires, each a pair of sockets: a sender waits rather than lose a packet. The device is on the
    first; the second is for a case that wants two."""
    return _twice(_boot_two, series)


def _twice(boot, series):
    """A kernel patches its own code while it boots, and under emulation sometimes crashes there, before anything else
    runs in the guest (6.12 in sched_clock_tick): that one is booted once more."""
    _require(series)
    try:
        return boot(series)
    except BootError as error:
        print(f'rxe: booting once more: {error}', file=sys.stderr)
        return boot(series)


def _boot_one(series):
    guest = Guest(f'guest with kernel {series}', series, _MEMORY_MIB[1])
    try:
        guest.wait_until_ready(BOOT_S)
        guest.check('hostname rxe')
        network.make_veth_device(guest)
        return guest
    except BaseException:
        guest.close()
        raise


def _boot_two(series):
    guests = []
    wires = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for number, ends in enumerate(zip(*wires), 1):
            guests.append(Guest(f'guest {number} with kernel {series}', series, _MEMORY_MIB[2], ends, number))
        for number, guest in enumerate(guests, 1):
            guest.wait_until_ready(BOOT_S)
            network.make_ethernet_device(guest, number)
        return guests
    except BaseException:
        for guest in guests:
            guest.close()
        raise
    finally:
        for wire in wires:
            for end in wire:
                end.close()
