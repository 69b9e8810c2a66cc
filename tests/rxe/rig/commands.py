"""`./dev rxe`: a command, a shell, or a pair of commands on machines of the rig."""
import argparse
import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty

from . import choose, kernel
from .machine import RigError

NO_MACHINE = 77  # what meson and automake take for a skipped test
RIG_FAILED = 125
TIMEOUT_S = 600
SERVER_END_S = 5
ESCAPE = b'\x1d'  # Ctrl-]


def say(text):
    print(f'rxe: {text}', file=sys.stderr, flush=True)


def _relay(stream, data):
    sink = sys.stdout if stream == 'out' else sys.stderr
    sink.buffer.write(data)
    sink.flush()


def _environment(machine):
    return {'DEVICE': machine.device, 'LINK': machine.link, 'ADDRESS': machine.address,
            'ADDRESS6': machine.address6 or ''}


def _feed(command):
    """Hands this process's input to the command."""
    try:
        while data := os.read(0, 64 << 10):
            command.input(data)
        command.input(b'')
    except RigError:
        return  # the machine has ended; the waiter says so


def _run(options):
    with choose.one(options.kernel, options.on) as machine:
        say(f'{machine.name}: {machine.device} at {machine.address} on {machine.link}')
        command = machine.start(options.command, options.timeout, _relay, environment=_environment(machine))
        threading.Thread(target=_feed, args=[command], daemon=True).start()
        return command.wait().status


@contextlib.contextmanager
def _raw_terminal():
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _shell(options):
    if not sys.stdin.isatty():
        raise RigError('shell: stdin is no terminal; use run')
    with choose.one(options.kernel, options.on) as machine:
        say(f'{machine.name}: {machine.device} at {machine.address} on {machine.link}; leave with exit or Ctrl-]')
        size = shutil.get_terminal_size()
        with _raw_terminal():
            command = machine.start([os.environ.get('SHELL', '/bin/sh')], options.timeout, _relay,
                                    (size.lines, size.columns), _environment(machine))
            while command.status is None:
                if select.select([0], [], [], 0.2)[0]:
                    data = os.read(0, 1024)
                    if ESCAPE in data:
                        command.kill()
                    command.input(data.replace(ESCAPE, b''))
        return command.wait().status


def _pair(options):
    """The server, then, once it listens, the client. The server may end by itself; if not, it is ended."""
    server_machine, client_machine = choose.two(options.kernel)
    with server_machine, client_machine:
        say(f'server {server_machine.address}, client {client_machine.address}, kernel {server_machine.kernel}')
        addresses = {'SERVER': server_machine.address, 'CLIENT': client_machine.address,
                     'SERVER6': server_machine.address6, 'CLIENT6': client_machine.address6}
        server = server_machine.start_server(options.server, options.timeout, on_output=_relay,
                                             environment={**_environment(server_machine), **addresses})
        client = client_machine.start(options.client, options.timeout, _relay,
                                      environment={**_environment(client_machine), **addresses})
        status = client.wait().status
        try:
            return status or server.wait(SERVER_END_S).status
        except RigError:
            server.signal(signal.SIGTERM)
            return status


def _parse(arguments):
    parser = argparse.ArgumentParser(prog='./dev rxe', description=__doc__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def add(name, does, text):
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument('--kernel', choices=kernel.KERNELS, default=kernel.KERNELS[0], help='of a guest')
        made.add_argument('--timeout', type=float, default=TIMEOUT_S, metavar='SECONDS', help='of each command')
        made.set_defaults(does=does)
        return made

    run = add('run', _run, 'runs a command; its output, input and exit status are those of this command')
    shell = add('shell', _shell, 'an interactive shell')
    for made in (run, shell):
        made.add_argument('--on', choices=(choose.ANY, choose.GUEST), default=choose.ANY,
                          help='guest: even where this host has a device')
    run.add_argument('command', nargs=argparse.REMAINDER, metavar='CMD...')
    pair = add('pair', _pair, 'runs a shell command on each of two guests; both see $SERVER and $CLIENT (and $SERVER6, '
                              '$CLIENT6), the addresses. The client starts once the server listens.')
    pair.add_argument('server', metavar='SERVER_COMMAND')
    pair.add_argument('client', metavar='CLIENT_COMMAND')
    return parser, parser.parse_args(arguments)


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    parser, options = _parse(arguments)
    if options.does is _run and not options.command:
        parser.error('run: a command is missing')
    try:
        return options.does(options)
    except choose.NoMachine as error:
        say(f'nothing to run on: {error}')
        return NO_MACHINE
    except RigError as error:
        say(str(error))
        return RIG_FAILED
    except KeyboardInterrupt:
        return 130
