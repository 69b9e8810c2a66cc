import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE.parent / 'peers'), str(HERE.parents[1] / 'tests/rxe')]

from bench import table, tools  # noqa: E402

BANDWIDTH = '''
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 65536      500              39.07              37.85  \t\t   0.000606
'''
LATENCY = '''
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99%   99.9%
 8       5000          13.01          210.22       15.12     \t       15.90        \t2.11\t\t21.00\t\t60.17
'''


class Perftest(unittest.TestCase):
    def test_bandwidth_is_the_average(self):
        work = tools.Work('put_bw', 65536, 500, 16)
        self.assertEqual(tools.parse_perftest(BANDWIDTH, work), 37.85 * (1 << 20))

    def test_latency_is_the_median(self):
        self.assertEqual(tools.parse_perftest(LATENCY, tools.Work('put_lat', 8, 5000, 16)), 15.12)

    def test_no_figures_is_an_error(self):
        with self.assertRaises(tools.ToolError):
            tools.parse_perftest(BANDWIDTH, tools.Work('put_bw', 4096, 500, 16))

    def test_a_bandwidth_of_nothing_is_no_figure(self):
        with self.assertRaises(tools.ToolError):
            tools.parse_perftest(BANDWIDTH.replace('37.85', '0.00'), tools.Work('put_bw', 65536, 500, 16))


class Table(unittest.TestCase):
    def test_the_ratio_is_taken_within_rounds(self):
        samples = {'mcp': {1: 10e6, 2: 40e6, 3: 30e6}, 'perftest': {1: 20e6, 2: 40e6, 3: 20e6, 4: 1e6}}
        self.assertEqual(table.ratios(samples, 'mcp', 'perftest'), [0.5, 1.0, 1.5])
        text = table.make({('put_bw', 65536): samples}, ['mcp', 'perftest', 'UCX'])
        self.assertIn('| put_bw | 64 KiB | MB/s | 30.00 [10.00, 40.00] | 20.00 [1.00, 40.00] | - | 1.000 |', text)
        self.assertIn('>= 0.95 met', text)

    def test_goals_are_missed_on_their_side(self):
        self.assertIn(table.MISSED, table.verdict('put_bw', 1 << 20, 0.94))
        self.assertIn('met', table.verdict('put_bw', 1 << 20, 0.96))
        self.assertIn(table.MISSED, table.verdict('put_lat', 8, 1.11))
        self.assertIn('met', table.verdict('put_lat', 8, 1.09))
        self.assertEqual(table.verdict('put_lat', 64, 9), '')

    def test_a_tool_without_figures_has_no_ratio(self):
        text = table.make({('put_lat', 8): {'perftest': {1: 15.0}}}, ['mcp', 'perftest'])
        self.assertIn('| put_lat | 8 B | us | - | 15.00 [15.00, 15.00] | - |  |', text)


if __name__ == '__main__':
    unittest.main()
