"""Starts and ends the processes of one measurement, bounded in time, and reads the CPU time they used.

Everything is started in a process group of its own, and only those groups are ever signalled. A process dies with the
driver (PDEATHSIG), so that nothing is left behind even by SIGKILL.
"""
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time

from .model import MeasurementError

_PREFIX = ['setpriv', '--pdeathsig', 'KILL', '--'] if shutil.which('setpriv') else []
_TICKS = os.sysconf('SC_CLK_TCK')


class Process:
    """One running program whose output goes to a file, so that it never blocks on a full pipe."""

    def __init__(self, command, environment):
        self.command = [str(part) for part in command]
        self._out = tempfile.TemporaryFile()
        self._error = tempfile.TemporaryFile()
        self._popen = subprocess.Popen(_PREFIX + self.command, stdin=subprocess.DEVNULL, stdout=self._out,
                                       stderr=self._error, env={**os.environ, **environment}, start_new_session=True)
        self.pid = self._popen.pid
        self.usage_s = 0.0  # CPU time of it and the children it waited for, once it has ended

    def wait(self, deadline):
        """Returns the exit status, or None at the deadline."""
        if self._popen.returncode is None:
            with _closing(os.pidfd_open(self.pid)) as descriptor:
                if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    return None
            _, status, usage = os.wait4(self.pid, 0)
            self._popen.returncode = os.waitstatus_to_exitcode(status)
            self.usage_s = usage.ru_utime + usage.ru_stime
        return self._popen.returncode

    def end(self):
        """Ends it and its group, politely and then not."""
        for number, patience_s in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
            if self._popen.returncode is not None:
                break
            _signal_group(self.pid, number)
            self.wait(time.monotonic() + patience_s)
        _signal_group(self.pid, signal.SIGKILL)  # children that outlived it

    def output(self):
        return _read(self._out)

    def complaint(self):
        """The last line of stderr that says something."""
        lines = [line.strip() for line in (_read(self._error) or _read(self._out)).splitlines() if line.strip()]
        return lines[-1][:300] if lines else 'no message'

    def close(self):
        self._out.close()
        self._error.close()


class _closing:
    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __enter__(self):
        return self._descriptor

    def __exit__(self, *_):
        os.close(self._descriptor)


def _read(file):
    file.seek(0)
    return file.read().decode(errors='replace')


def _signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def is_listening(pid, port):
    """True once a TCP socket listens on `port` in the network namespace of `pid`."""
    wanted = f':{port:04X}'
    for table in ('tcp', 'tcp6'):
        try:
            with open(f'/proc/{pid}/net/{table}') as lines:
                if any(fields[1].endswith(wanted) and fields[3] == '0A'
                       for fields in map(str.split, lines) if len(fields) > 3):
                    return True
        except OSError:
            continue
    return False


def await_listener(process, port, deadline):
    while not is_listening(process.pid, port):
        if process.wait(time.monotonic() + 0.002) is not None:
            raise MeasurementError(f'server ended early: {process.complaint()}')
        if time.monotonic() > deadline:
            raise MeasurementError(f'server does not listen on port {port}: {process.complaint()}')


def finish(process, role, deadline):
    status = process.wait(deadline)
    if status is None:
        raise MeasurementError(f'{role} did not end in time')
    if status != 0:
        raise MeasurementError(f'{role} ended with {status}: {process.complaint()}')


class Pair:
    """What a server and a client printed, and the CPU seconds each used from start to end."""

    def __init__(self, server, client, foreign_cpu):
        self.server_output = server.output() if server else ''
        self.client_output = client.output()
        self.usage_s = client.usage_s + (server.usage_s if server else 0.0)
        command = client.command
        self.command = ' '.join(command[command.index('--') + 1:] if command[0] == 'nsenter' else command)
        self.foreign_cpu = foreign_cpu


def machine_busy_s():
    """CPU seconds the machine has spent on anything but idling, all cores together."""
    with open('/proc/stat') as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def run_pair(server_command, client_command, environment, timeout_s, port=None):
    """Runs a server and then a client to their ends. Without `port` the client does not wait for the server."""
    deadline = time.monotonic() + timeout_s
    started, busy, own = time.monotonic(), machine_busy_s(), _own_cpu_s()
    processes = []
    try:
        server = None
        if server_command:
            server = Process(server_command, environment)
            processes.append(server)
            if port:
                await_listener(server, port, min(deadline, time.monotonic() + 10))
        client = Process(client_command, environment)
        processes.append(client)
        finish(client, 'client', deadline)
        if server:
            finish(server, 'server', min(deadline, time.monotonic() + 5))
        ours = sum(process.usage_s for process in processes) + _own_cpu_s() - own
        elapsed = time.monotonic() - started
        foreign = max(0.0, machine_busy_s() - busy - ours) / (elapsed * os.cpu_count())
        return Pair(server, client, foreign)
    finally:
        for process in processes:
            process.end()
            process.close()


def _own_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
