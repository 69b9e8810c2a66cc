#!/usr/bin/env python3
"""Runs commands where it is, for a driver at the other end of a byte stream: in a guest behind a virtio port, on this
host behind a pair of pipes.

    agent.py PORT | -

Both ways go lines of JSON; bytes travel as Latin-1 text. From the driver: start, input, signal. To the driver: ready,
output, ended. When the stream ends, so does everything that was started.
"""
import json
import os
import pty
import signal
import subprocess
import sys
import threading

CHUNK = 64 << 10
STREAM_END_S = 2  # how long an ended command's output may be held open by what it left behind
KILLED_BY_LIMIT = 124  # the exit status that coreutils' timeout has for it
CANNOT_RUN = 127


class Running:
    """One command, in a session and process group of its own."""

    def __init__(self, agent, message):
        self._agent = agent
        self._id = message['id']
        self._limit_s = message['limit_s']
        self._input_lock = threading.Lock()
        options = {'cwd': message['cwd'], 'env': message['env'], 'start_new_session': True}
        if message['terminal']:
            self._start_on_terminal(message, options)
        else:
            self.process = subprocess.Popen(message['argv'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, **options)
            self._input = self.process.stdin
            self._outputs = [(self.process.stdout, 'out'), (self.process.stderr, 'error')]
        self._pumps = [threading.Thread(target=self._pump, args=output, daemon=True) for output in self._outputs]

    def follow(self):
        """Tells what becomes of it, from now on."""
        for thread in (*self._pumps, threading.Thread(target=self._await_end, daemon=True)):
            thread.start()

    def _start_on_terminal(self, message, options):
        controller, terminal = pty.openpty()
        self._input = open(controller, 'r+b', buffering=0)
        try:
            subprocess.run(['stty', 'rows', str(message['rows']), 'cols', str(message['columns'])], stdin=terminal)
            self.process = subprocess.Popen(['setsid', '--ctty', '--wait', *message['argv']], stdin=terminal,
                                            stdout=terminal, stderr=terminal, **options)
        except OSError:
            self._input.close()
            raise
        finally:
            os.close(terminal)
        self._outputs = [(self._input, 'out')]

    def _pump(self, file, stream):
        while True:
            try:
                data = os.read(file.fileno(), CHUNK)
            except OSError:  # how a terminal tells that its last user has gone
                return
            if not data:
                return
            self._agent.tell(event='output', id=self._id, stream=stream, data=data.decode('latin-1'))

    def _await_end(self):
        try:
            status = self.process.wait(self._limit_s)
        except subprocess.TimeoutExpired:
            status = KILLED_BY_LIMIT
            self._agent.tell(event='output', id=self._id, stream='error',
                             data=f'rxe: ended after its limit of {self._limit_s:.0f} s\n')
        self.kill()
        self.process.wait()
        for thread in self._pumps:
            thread.join(STREAM_END_S)
        self._close()
        self._agent.forget(self._id)
        self._agent.tell(event='ended', id=self._id, status=status)

    def _close(self):
        """All but what is still read, of something that was left behind."""
        files = {self._input, *(file for file, _ in self._outputs)}
        read = {file for thread, (file, _) in zip(self._pumps, self._outputs) if thread.is_alive()}
        with self._input_lock:
            for file in files - read:
                file.close()

    def input(self, data):
        """An empty string is the end of the input."""
        with self._input_lock:
            if self._input.closed:
                return
            if not data:
                if self.process.stdin:
                    self._input.close()
                return
            descriptor = os.dup(self._input.fileno())  # what blocks below holds nothing up
        try:
            os.write(descriptor, data.encode('latin-1'))
        except OSError:  # it reads no more; its end is told by _await_end
            return
        finally:
            os.close(descriptor)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def kill(self):
        self.signal(signal.SIGKILL)


class Agent:
    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()
        self._running = {}

    def tell(self, **message):
        data = (json.dumps(message) + '\n').encode()
        with self._lock:
            while data:
                data = data[os.write(self._writer, data):]

    def forget(self, number):
        self._running.pop(number, None)

    def serve(self):
        self.tell(event='ready', kernel=os.uname().release)
        for line in self._reader:
            message = json.loads(line)
            getattr(self, '_' + message['do'])(message)
        for running in list(self._running.values()):
            running.kill()

    def _start(self, message):
        try:
            running = Running(self, message)
            self._running[message['id']] = running
            running.follow()
        except OSError as error:
            text = f'rxe: {message["argv"][0]}: {error.strerror}\n'
            self.tell(event='output', id=message['id'], stream='error', data=text)
            self.tell(event='ended', id=message['id'], status=CANNOT_RUN)

    def _input(self, message):
        if running := self._running.get(message['id']):
            running.input(message['data'])

    def _signal(self, message):
        if running := self._running.get(message['id']):
            running.signal(message['signal'])


def reap_for(child):
    """The duty of process 1: wait for whatever was left behind, until `child` ends."""
    while os.wait()[0] != child:
        pass


def main():
    if os.getpid() == 1:
        child = os.fork()
        if child:
            return reap_for(child)
    if sys.argv[1] == '-':
        reader, writer = 0, 1
    else:
        reader = writer = os.open(sys.argv[1], os.O_RDWR | os.O_CLOEXEC)
    with open(reader, 'rb') as stream:
        Agent(stream, writer).serve()


if __name__ == '__main__':
    main()
