"""A machine as the driver sees it: an agent behind two pipes that starts commands and tells what becomes of them."""
import json
import os
import signal
import threading
import time

ANSWER_S = 15  # how long an agent may be silent beyond a command's own limit
COMMAND_LIMIT_S = 120
LISTEN_S = 30
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


class RigError(Exception):
    """The rig itself failed: no statement about what was to be run in it."""


class BootError(RigError):
    """A machine did not come up."""


class Result:
    def __init__(self, status, out, error):
        self.status, self.out, self.error = status, out, error

    def __str__(self):
        return f'exit status {self.status}\n{self.out}{self.error}'


class Command:
    """A command that was started. Output is kept, and handed to `on_output(stream, bytes)` as it comes."""

    def __init__(self, machine, number, limit_s, on_output):
        self._machine, self._number = machine, number
        self._deadline = time.monotonic() + limit_s + ANSWER_S
        self._on_output = on_output
        self._bytes = {'out': bytearray(), 'error': bytearray()}
        self.status = None

    def take_output(self, stream, data):
        if self._on_output:
            self._on_output(stream, data)
        else:
            self._bytes[stream] += data

    def text(self, stream='out'):
        return self._bytes[stream].decode(errors='replace')

    def wait(self, timeout_s=None):
        """Returns the Result; without an end by `timeout_s` (or the command's own limit) a RigError."""
        deadline = self._deadline if timeout_s is None else time.monotonic() + timeout_s
        self._machine.wait_for(lambda: self.status is not None, deadline, 'its command did not end')
        return Result(self.status, self.text(), self.text('error'))

    def wait_for_text(self, wanted, timeout_s=30):
        """Waits until the output holds `wanted`. A command that ends without it is a RigError."""
        def there():
            return wanted in self.text() or wanted in self.text('error')
        self._machine.wait_for(lambda: there() or self.status is not None, time.monotonic() + timeout_s,
                               f'no "{wanted}" in time: {self.text()}{self.text("error")}')
        if not there():
            raise RigError(f'ended without "{wanted}": {Result(self.status, self.text(), self.text("error"))}')

    def signal(self, number):
        """Signals the command and all that it started."""
        self._machine.tell(do='signal', id=self._number, signal=int(number))

    def kill(self):
        self.signal(signal.SIGKILL)

    def input(self, data):
        self._machine.tell(do='input', id=self._number, data=data.decode('latin-1'))


class Machine:
    """Owns the process (QEMU, or an agent on this host) whose stdin and stdout lead to the agent."""

    def __init__(self, name, process, complaint, disposable):
        self.name = name
        self.disposable = disposable  # its links and devices may be cut
        self.kernel = None
        self.address = self.address6 = self.device = self.link = None
        self._process, self._complaint = process, complaint
        self._changed = threading.Condition()
        self._lock = threading.Lock()
        self._commands, self._next = {}, 0
        self._gone = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._take(json.loads(line))
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _take(self, message):
        with self._changed:
            if message['event'] == 'ready':
                self.kernel = message['kernel']
            elif message['event'] == 'output':
                self._commands[message['id']].take_output(message['stream'], message['data'].encode('latin-1'))
            else:
                self._commands[message['id']].status = message['status']
            self._changed.notify_all()

    def wait_for(self, condition, deadline, complaint):
        with self._changed:
            done = self._changed.wait_for(lambda: condition() or self._gone, max(0.0, deadline - time.monotonic()))
            if not condition():
                reason = complaint if not done else 'it ended'
                raise RigError(f'{self.name}: {reason}{self._complaint()}')

    def wait_until_ready(self, timeout_s):
        try:
            self.wait_for(lambda: self.kernel, time.monotonic() + timeout_s, f'not up after {timeout_s} s')
        except RigError as error:
            raise BootError(str(error)) from error

    def tell(self, **message):
        with self._lock:
            try:
                self._process.stdin.write((json.dumps(message) + '\n').encode())
                self._process.stdin.flush()
            except OSError as error:
                raise RigError(f'{self.name}: {error.strerror}{self._complaint()}') from error

    def start(self, argv, limit_s=COMMAND_LIMIT_S, on_output=None, terminal=None, environment=None):
        """Starts a command, in this process's folder. `terminal` is (rows, columns) for one that wants a terminal."""
        if isinstance(argv, str):
            argv = ['sh', '-c', argv]
        rows, columns = terminal or (0, 0)
        number, self._next = self._next, self._next + 1
        command = self._commands[number] = Command(self, number, limit_s, on_output)
        everything = {**os.environ, 'PATH': f'{PATH}:{os.environ.get("PATH", "")}', **(environment or {})}
        self.tell(do='start', id=number, argv=[str(part) for part in argv], cwd=os.getcwd(), env=everything,
                  limit_s=limit_s, terminal=bool(terminal), rows=rows, columns=columns)
        if not terminal and on_output is None:
            self.tell(do='input', id=number, data='')
        return command

    def run(self, argv, limit_s=COMMAND_LIMIT_S, **options):
        return self.start(argv, limit_s, **options).wait()

    def check(self, argv, limit_s=COMMAND_LIMIT_S, **options):
        """Runs what must succeed; returns what it printed."""
        result = self.run(argv, limit_s, **options)
        if result.status != 0:
            raise RigError(f'{self.name}: {argv}: {result}')
        return result.out

    def _listeners(self):
        """What listens here, by TCP or by RDMA connection management."""
        shown = self.check('ss -Hltn; rdma resource show cm_id state LISTEN 2>/dev/null')
        return {line.strip() for line in shown.splitlines()}

    def start_server(self, argv, limit_s=COMMAND_LIMIT_S, listen_s=LISTEN_S, **options):
        """Starts a command and waits until something listens that did not before."""
        before = self._listeners()
        server = self.start(argv, limit_s, **options)
        deadline = time.monotonic() + listen_s
        while not self._listeners() - before:
            if server.status is not None:
                raise RigError(f'{self.name}: {argv} ended before it listened: '
                               f'{Result(server.status, server.text(), server.text("error"))}')
            if time.monotonic() > deadline:
                server.kill()
                raise RigError(f'{self.name}: {argv} does not listen after {listen_s} s')
        return server

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
