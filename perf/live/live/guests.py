"""Two QEMU guests with rxe on one wire; what the sender's guest sends is lost or delayed by netem."""
import queue

from rig import choose

from . import path
from .path import MIB, Failed, FirstPart, Phase

LIMIT = 'limit 10000'  # packets: netem itself drops none
# Beyond what guests can do. Where there is a rate, packets that are delayed keep their order, as on the one path that a
# queue pair has, to which one out of order is a lost one. Netem keeps a rate until it is told another.
FAST = 'rate 100gbit'
COUNTERS = ('sent_pkts', 'rcvd_seq_err', 'completer_retry_err', 'retry_exceeded_err')
RUN_S = 3600
ANSWER_S = 300


class Program(path.Program):
    def __init__(self, machine, *command):
        self._lines, self._rest, self._errors = queue.Queue(), b'', b''
        self._command = machine.start(command, RUN_S, self._take)
        self.first_line = self.read()

    def _take(self, stream, data):
        if stream == 'error':
            self._errors += data
            if b'message_path: ' in self._errors:  # its last words; the library's warnings are not
                self._lines.put(None)
            return
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._lines.put(line.decode())

    def read(self):
        try:
            line = self._lines.get(timeout=ANSWER_S)
        except queue.Empty:
            said = self._errors.decode(errors='replace').strip()
            raise Failed(f'message_path does not answer for {ANSWER_S} s; it said: {said}') from None
        if line is None:
            raise Failed(self._errors.decode(errors='replace').strip())
        return line

    def write(self, line):
        self._command.input(line.encode() + b'\n')

    def close(self):
        self._command.kill()
        self._command.wait()


class Guests:
    NAME = 'live-rxe'
    # The state is netem's.
    PHASES = (Phase('clean', f'loss 0% {FAST}', 100, 2 * MIB),
              Phase('1 % lost', f'loss 1% {FAST}', 120, 2 * MIB, lossy=True),
              Phase('delay with jitter', f'delay 4ms 2ms {FAST}', 100, 2 * MIB),
              Phase('clean again', f'loss 0% {FAST}', 100, 2 * MIB))
    FIRST_PART = FirstPart('rate 150mbit', '150 Mb/s', 16 * MIB)

    def __init__(self, program, kernel):
        self._program, self._kernel = program, kernel
        self._server, self._client = choose.two(kernel)
        self._programs = []
        self._discipline('add', self.PHASES[0].state)
        self._address = self._start(self._server, 'serve', 'verbs', f'{self._server.address}:0').first_line

    def describe(self):
        return {'transport': 'verbs', 'emulated': True, 'guest_kernel': self._client.kernel}

    def _start(self, machine, *arguments):
        program = Program(machine, self._program, *arguments)
        self._programs.append(program)
        return program

    def _discipline(self, verb, state):
        """Changed in place: what rxe sends while a link has no discipline ends the device's own queue pair."""
        self._client.check(f'/usr/sbin/tc qdisc {verb} dev {self._client.link} root netem {state} {LIMIT}')

    def set(self, state):
        self._discipline('change', state)

    def counters(self):
        """What the device of the sender's guest has counted so far of losses."""
        folder = f'/sys/class/infiniband/{self._client.device}/ports/1/hw_counters'
        shown = self._client.check(f'cd {folder} && grep . {" ".join(COUNTERS)}')
        return {name: int(value) for name, _, value in (line.partition(':') for line in shown.split())}

    def connect(self, policy):
        return self._start(self._client, 'send', 'verbs', self._address, policy)

    def close(self):
        for machine in (self._client, self._server):
            machine.close()
