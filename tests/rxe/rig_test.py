#!/usr/bin/env python3
"""The rig's driver and agent: the agent runs on this host; and that no guest outlives its driver."""
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
import unittest
from unittest import mock

from cases import base  # noqa: F401: it knows where harness is
from rig import guest, local
from rig.machine import BootError, RigError

import harness

RUN = pathlib.Path(__file__).resolve().parent / 'run'
GUEST_END_S = 10


class Rig(unittest.TestCase):
    def setUp(self):
        self.machine = local.LocalMachine('this host', disposable=False)
        self.addCleanup(self.machine.close)

    def test_output_and_status_come_back(self):
        result = self.machine.run('echo out; echo error >&2; exit 7')
        self.assertEqual((result.status, result.out, result.error), (7, 'out\n', 'error\n'))

    def test_much_output_comes_back_whole(self):
        result = self.machine.run('seq 200000')
        self.assertEqual(result.out.split(), [str(number) for number in range(1, 200001)])

    def test_environment_and_input_arrive(self):
        pieces = []
        command = self.machine.start('echo $HUE; cat', environment={'HUE': 'blue'},
                                     on_output=lambda stream, data: pieces.append(data))
        command.input(b'\x00\xff line\n')
        command.input(b'')
        self.assertEqual(command.wait(10).status, 0)
        self.assertEqual(b''.join(pieces), b'blue\n\x00\xff line\n')

    def test_what_cannot_run_is_127(self):
        result = self.machine.run(['/no/such/program'])
        self.assertEqual(result.status, 127)
        self.assertIn('/no/such/program: No such file', result.error)

    def test_the_limit_ends_a_command_and_what_it_started(self):
        started = time.monotonic()
        result = self.machine.run('sleep 61 & sleep 60', limit_s=0.5)
        self.assertEqual(result.status, 124)
        self.assertIn('limit', result.error)
        self.assertLess(time.monotonic() - started, 10)

    def test_commands_that_ended_hold_nothing(self):
        def open_files():
            return self.machine.check('ls /proc/$PPID/fd | wc -l')

        before = open_files()
        for number in range(20):
            self.machine.start(f'exit {number}', on_output=lambda *_: None).wait(10)
        terminal = self.machine.start('stty size', terminal=(24, 80))
        self.assertEqual(terminal.wait(10).status, 0)
        self.assertEqual(open_files(), before)

    def test_a_signal_reaches_the_whole_group(self):
        command = self.machine.start('echo up; sleep 60; echo no')
        command.wait_for_text('up')
        command.signal(signal.SIGTERM)
        self.assertEqual(command.wait(10).status, -signal.SIGTERM)

    def test_text_that_never_comes_is_an_error(self):
        command = self.machine.start('echo something else')
        with self.assertRaisesRegex(RigError, 'something else'):
            command.wait_for_text('wanted', 10)

    def test_a_machine_that_ended_is_an_error(self):
        command = self.machine.start('sleep 60')
        self.machine.close()
        with self.assertRaisesRegex(RigError, 'it ended'):
            command.wait(10)

    def test_a_guest_ends_with_its_driver(self):
        if reason := guest.missing('6.1'):
            self.skipTest(reason)
        driver = subprocess.Popen([sys.executable, RUN, 'run', '--on', 'guest', 'sleep', '60'], stderr=subprocess.PIPE,
                                  stdin=subprocess.DEVNULL, text=True)
        try:
            self.assertIn('guest', driver.stderr.readline())
            with open(f'/proc/{driver.pid}/task/{driver.pid}/children') as file:
                process, = map(int, file.read().split())
            handle = os.pidfd_open(process)
        finally:
            driver.kill()
            driver.communicate()
        try:
            self.assertTrue(select.select([handle], [], [], GUEST_END_S)[0], 'the guest outlives its driver')
        finally:
            os.close(handle)

    def test_a_guest_that_dies_while_it_boots_is_booted_once_more(self):
        fates = []

        def boot(_series):
            fate = fates.pop(0)
            if isinstance(fate, Exception):
                raise fate
            return fate

        with mock.patch.object(guest, '_require'):
            fates[:] = [BootError('it ended'), 'up']
            self.assertEqual(guest._twice(boot, '6.12'), 'up')
            for fates[:] in ([BootError('it ended'), BootError('again')], [RigError('no such kernel'), 'up']):
                with self.assertRaises(RigError):
                    guest._twice(boot, '6.12')


if __name__ == '__main__':
    sys.exit(harness.main(Rig))
