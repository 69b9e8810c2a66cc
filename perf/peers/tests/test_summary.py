import io
import pathlib
import tempfile
import types
import unittest

from driver import results, summary, table, tuning
from driver.adapters import bare
from driver.model import Row, Sample

PATH = types.SimpleNamespace(name='loopback')
MCP = Row('mcp', 'checksum all', 'put_bw')
MCP_MESSAGES = Row('mcp', 'checksum all', 'send_bw')
UCX = Row('UCX', '', 'put_bw')
ZEROMQ = Row('ZeroMQ', '', 'send_bw')
LIBFABRIC_GET = Row('libfabric', '', 'get_bw')
BARE = Row('bare C', bare.TWO, 'send_bw')
COALESCED = Row('bare C', bare.COALESCED, 'send_bw')


def make_results(figures):
    """`figures`: {row: GB/s of each round}, all at 64 B."""
    file = io.StringIO()
    sheet = results.Results(file, 'c0ffee' * 6)
    names = ('mcp', 'UCX', 'ZeroMQ', 'libfabric', 'bare C')
    sheet.begin(time='now', cpus=2, cpu_model='a CPU', memory='1 kB', kernel='6', load_before=[0.0], rounds=3,
                seconds=1, seed=7, made_by='a test', paths={'loopback': 'a path'},
                peers={peer: {'version': '1', 'fixed': 'nothing'} for peer in names})
    for row, rounds in figures.items():
        for number, gigabytes in enumerate(rounds, 1):
            sample = Sample(seconds=1.0, operations=int(gigabytes * 1e9) // 64, size=64, cpu_s=1.0)
            sheet.sample(PATH, row, 64, number, {'window': 16}, sample)
    sheet.skipped('gloo', 'it is not installed')
    return results.read(file.getvalue().splitlines())


class FigureTest(unittest.TestCase):
    def test_median_and_spread(self):
        self.assertEqual(summary.figure([3.0, 1.0, 2.0]), summary.Figure(2.0, 1.0, 3.0, 3))

    def test_ignores_what_is_missing(self):
        self.assertEqual(summary.figure([None, 2.0]).count, 1)
        self.assertIsNone(summary.figure([None]))


class CompareTest(unittest.TestCase):
    def compare(self, figures, choose, field='bandwidth_bytes_per_s', row=MCP):
        _, records = make_results(figures)
        return summary.Summary(records).compare('loopback', row, 64, field, choose)

    def test_best_is_by_median_and_ratios_are_by_round(self):
        found = self.compare({MCP: [2, 4, 6], UCX: [1, 1, 9], ZEROMQ: [2, 2, 2]}, summary.is_peer)
        self.assertEqual(found.best, ZEROMQ)
        self.assertAlmostEqual(found.ratio.median, 2.0, places=5)
        self.assertAlmostEqual(found.ratio.high, 3.0, places=5)

    def test_reads_do_not_compete_with_writes(self):
        found = self.compare({MCP: [2], LIBFABRIC_GET: [9], UCX: [1]}, summary.is_peer)
        self.assertEqual(found.best, UCX)

    def test_messages_compete_with_messages(self):
        found = self.compare({MCP_MESSAGES: [2], UCX: [9], ZEROMQ: [1]}, summary.is_peer, row=MCP_MESSAGES)
        self.assertEqual(found.best, ZEROMQ)

    def test_bare_and_coalesced_are_apart(self):
        figures = {MCP: [2], BARE: [1], COALESCED: [4]}
        self.assertEqual(self.compare(figures, summary.is_bare).best, BARE)
        self.assertAlmostEqual(self.compare(figures, summary.is_coalesced).ratio.median, 0.5, places=5)
        self.assertIsNone(self.compare(figures, summary.is_peer))

    def test_smaller_cost_is_better(self):
        found = self.compare({MCP: [2], UCX: [1]}, summary.is_peer, 'cpu_s_per_gb')
        self.assertAlmostEqual(found.ratio.median, 2.0, places=3)

    def test_only_rounds_that_both_have(self):
        found = self.compare({MCP: [2, 4], UCX: [1]}, summary.is_peer)
        self.assertEqual(found.ratio.count, 1)


class TableTest(unittest.TestCase):
    def test_shows_ratio_goal_and_skip(self):
        run, records = make_results({MCP: [3, 3, 3], UCX: [2, 2, 2], BARE: [1, 1, 1]})
        text = table.make(run, summary.Summary(records))
        self.assertIn('| put_bw, checksum all | best peer | **1.5 (1.5–1.5) UCX put_bw** |', text)
        self.assertIn('| put_bw, checksum all | best bare C | 3 (3–3) bare C send_bw |', text)
        self.assertIn('| put_bw | UCX | 2 (2–2) |', text)
        self.assertIn('- skipped: gloo: it is not installed', text)
        self.assertNotIn('not quiet', text)

    def test_says_when_the_machine_was_not_quiet(self):
        run, records = make_results({UCX: [2]})
        for record in records:
            record['foreign_cpu'] = 0.4
        self.assertIn('**The machine was not quiet**', table.make(run, summary.Summary(records)))

    def test_numbers(self):
        for value, text in ((1234.5, '1234'), (12.345, '12.3'), (0.01234, '0.0123'), (0.00012, '1.2e-04')):
            self.assertEqual(table.number(value), text)


class ReadTest(unittest.TestCase):
    def test_refuses_other_files(self):
        for lines in ([], ['{"schema": "other/1", "kind": "run"}'], ['{"schema": "mcp-peers/1", "kind": "sample"}']):
            with self.assertRaises(ValueError):
                results.read(lines)


class TuningTest(unittest.TestCase):
    def test_settings_are_kept_and_shared_by_variants_and_reads(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / 'tuned.json'
            peer = types.SimpleNamespace(candidates=lambda row, size: [{'window': 1}, {'window': 2}])
            settings = tuning.Settings(file)
            self.assertEqual(settings.of(peer, MCP, 64), {'window': 1})
            settings.choose(MCP, 64, {'window': 2})
            settings.write()
            kept = tuning.Settings(file)
            for row in (Row('mcp', 'checksum off', 'put_bw'), Row('mcp', 'checksum off', 'get_bw')):
                self.assertEqual(kept.of(peer, row, 64), {'window': 2})
            self.assertEqual(kept.of(peer, MCP, 4096), {'window': 1})

    def test_what_is_no_candidate_any_more_is_not_used(self):
        settings = tuning.Settings(pathlib.Path('/nonexistent'))
        settings.choose(UCX, 64, {'window': 9})
        peer = types.SimpleNamespace(candidates=lambda row, size: [{'window': 1}])
        self.assertEqual(settings.of(peer, UCX, 64), {'window': 1})

    def test_best_over_all_paths_by_median(self):
        samples = {(0, 'loopback'): [4, 4, 90], (0, 'veth'): [1, 1, 1],
                   (1, 'loopback'): [3, 3, 3], (1, 'veth'): [2, 2, 2]}
        self.assertEqual(tuning.best(samples), 1)

    def test_what_is_far_behind_is_dropped(self):
        samples = {(0, 'loopback'): [10], (1, 'loopback'): [8], (2, 'loopback'): [2]}
        self.assertEqual(tuning.promising(samples), {0, 1})

    def test_a_candidate_that_failed_on_a_path_is_out(self):
        self.assertEqual(tuning.best({(0, 'loopback'): [9], (1, 'loopback'): [1], (1, 'veth'): [1]}), 1)


if __name__ == '__main__':
    unittest.main()
