import contextlib
import io
import os
import socket
import time
import types
import unittest

from driver import adapters, model, options, pace, processes, runner
from driver.model import MeasurementError, Row, Sample


class PaceTest(unittest.TestCase):
    path = types.SimpleNamespace(name='loopback')
    row = Row('UCX', '', 'send_bw')

    def test_learns_how_many_operations_fill_the_time(self):
        one = pace.Pace(0.5)
        one.learn(self.path, self.row, Sample(seconds=0.1, operations=10_000, size=64))
        self.assertEqual(one.work(self.path, self.row, 64).iterations, 50_000)

    def test_repeats_what_was_too_short(self):
        done = []

        def measure(_path, _row, _settings, work):
            done.append(work.iterations)
            return Sample(seconds=work.iterations / 1e7, operations=work.iterations, size=work.size)

        pace.Pace(0.5).measure(types.SimpleNamespace(measure=measure), self.path, self.row, {}, 64)
        self.assertEqual(done, [100_000, 5_000_000])

    def test_always_some_operations_and_a_warmup(self):
        work = pace.Pace(0.01).work(self.path, self.row, 256 << 20)
        self.assertEqual((work.iterations, work.warmup), (2, 1))


class PlanTest(unittest.TestCase):
    def test_groups_hold_what_is_compared(self):
        peers = adapters.all_peers(None)
        plan = runner.Plan(peers, [types.SimpleNamespace(name='loopback')], list(model.TESTS), [64, 16 << 20], [64])
        groups = list(plan.groups())
        self.assertEqual(len(groups), 3)
        large = {row.peer for _, _, row, size in groups[1] if size == 16 << 20}
        self.assertIn('mcp', large)
        self.assertNotIn('iperf3', large)
        self.assertTrue(all(model.is_latency(row.test) for _, _, row, _ in groups[2]))

    def test_every_row_has_settings(self):
        for peer, row, size in runner.Plan(adapters.all_peers(None), [], list(model.TESTS), model.SIZES, [64]).rows():
            self.assertTrue(peer.candidates(row, size), (row, size))


class OptionsTest(unittest.TestCase):
    keys = ['mcp', 'ucx']

    def parse(self, *arguments):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                return options.parse(list(arguments), self.keys)
            except SystemExit as end:
                return end.code, errors.getvalue()

    def test_quick_gives_way_to_what_is_named(self):
        chosen = self.parse('--quick', '--sizes', '1M,64')
        self.assertEqual((chosen.rounds, chosen.sizes, chosen.latency_sizes), (2, [64, 1 << 20], [64]))

    def test_wrong_options_name_the_option(self):
        for arguments in (('--peers', 'ucx,nobody'), ('--paths', 'moon'), ('--sizes', 'big'), ('--rounds', '-1')):
            code, errors = self.parse(*arguments)
            self.assertEqual(code, 2)
            self.assertIn(arguments[0], errors)


class ProcessesTest(unittest.TestCase):
    def test_a_failing_client_is_an_error_with_its_words(self):
        with self.assertRaisesRegex(MeasurementError, 'client ended with 3: no path'):
            processes.run_pair(None, ['sh', '-c', 'echo no path >&2; exit 3'], {}, 10)

    def test_what_does_not_end_is_ended(self):
        started = time.monotonic()
        with self.assertRaisesRegex(MeasurementError, 'client did not end in time'):
            processes.run_pair(None, ['sleep', '60'], {}, 0.05)
        self.assertLess(time.monotonic() - started, 10)

    def test_reports_output_and_cpu_time(self):
        loop = 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done'
        pair = processes.run_pair(None, ['sh', '-c', loop], {}, 30)
        self.assertEqual(pair.client_output, 'done\n')
        self.assertGreater(pair.usage_s, 0)

    def test_a_server_that_never_listens_is_an_error(self):
        with self.assertRaisesRegex(MeasurementError, 'server ended early: busy'):
            processes.run_pair(['sh', '-c', 'echo busy >&2; exit 1'], ['true'], {}, 10, port=1)

    def test_sees_a_listening_port(self):
        with socket.create_server(('127.0.0.1', 0)) as server:
            self.assertTrue(processes.is_listening(os.getpid(), server.getsockname()[1]))


if __name__ == '__main__':
    unittest.main()
