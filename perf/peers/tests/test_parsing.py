import json
import types
import unittest

from driver.adapters import base, iperf3, mcp, ucx
from driver.model import MeasurementError, Work

UCX = '''iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall_mr
300000,3.190,2.677,2.677,22.80,22.80,373503,373503
'''


def mcp_document(**changes):
    result = {'test': 'put_bw', 'size_bytes': 65536, 'operations': 1000, 'seconds': 0.5, 'error': None,
              'latency_us': {'p50': 4.5, 'p99': 9.0}, 'cpu_s': {'local': 0.25, 'remote': 0.5}, **changes}
    return json.dumps({'schema': 'mcp-perf/1', 'local': {'device': 'io_uring', 'rails': 2, 'host': 'h'},
                       'results': [result]})


class UcxTest(unittest.TestCase):
    def test_reads_percentile_and_rate(self):
        values = ucx.parse(UCX, 64)
        self.assertEqual(values['latency'], 3.19)
        self.assertAlmostEqual(values['rate'], 373503, delta=100)

    def test_few_operations_a_second_are_not_rounded(self):
        line = '2,700000.0,700000.0,700000.0,365.71,365.71,1,1'
        self.assertAlmostEqual(ucx.parse(line, 256 << 20)['rate'], 1.4286, places=3)

    def test_no_figures(self):
        for text in ('', 'UCX ERROR no such device\n', UCX.splitlines()[0]):
            with self.assertRaises(MeasurementError):
                ucx.parse(text, 64)

    def test_a_latency_stands_where_the_rate_is_rounded_to_nothing(self):
        values = ucx.parse(UCX.replace('22.80', '0.00'), 64)
        self.assertEqual(values['latency'], 3.19)
        with self.assertRaises(MeasurementError):
            ucx.positive(values['rate'])


class Iperf3Test(unittest.TestCase):
    def document(self, **changes):
        end = {'sum_sent': {'seconds': 2.0}, 'sum_received': {'seconds': 2.0, 'bytes': 1 << 30},
               'cpu_utilization_percent': {'host_total': 50.0, 'remote_total': 75.0}}
        return json.dumps({'end': {**end, **changes}})

    def test_counts_what_was_received(self):
        sample = iperf3.parse(self.document(), 1 << 20)
        self.assertEqual((sample.operations, sample.seconds), (1024, 2.0))
        self.assertAlmostEqual(sample.cpu_s, 2.5)

    def test_errors(self):
        for text in ('', '{"error": "unable to connect"}',
                     self.document(sum_received={'seconds': 0, 'bytes': 0})):
            with self.assertRaises(MeasurementError):
                iperf3.parse(text, 64)


class McpTest(unittest.TestCase):
    def test_bandwidth_has_no_half_round_trip(self):
        sample = mcp.parse(mcp_document(), 'put_bw')
        self.assertAlmostEqual(sample.bandwidth, 1000 * 65536 / 0.5)
        self.assertAlmostEqual(sample.cpu_s, 0.75)
        self.assertIsNone(sample.p50_us)
        self.assertEqual(sample.chosen, {'device': 'io_uring', 'rails': 2})

    def test_latency(self):
        sample = mcp.parse(mcp_document(test='put_lat'), 'put_lat')
        self.assertEqual((sample.p50_us, sample.p99_us), (4.5, 9.0))

    def test_errors(self):
        for text in ('', '{}', '{"schema": "mcp-perf/1", "results": []}', mcp_document(error='bytes differ at 7'),
                     mcp_document(operations=0), mcp_document().replace('mcp-perf/1', 'mcp-perf/9')):
            with self.assertRaises(MeasurementError):
                mcp.parse(text, 'put_bw')


class OwnProgramTest(unittest.TestCase):
    work = Work(size=64, seconds=1, iterations=10, warmup=1, port=20000)

    def pair(self, client, server=''):
        return types.SimpleNamespace(client_output=client, server_output=server, command='', foreign_cpu=0.0)

    def test_adds_the_cpu_time_of_both_sides(self):
        line = '{"seconds": 0.5, "operations": 10, "cpu_s": 0.25, "p50_us": 3.5, "p99_us": 7.5}\n'
        sample = base.read_own(self.pair(line, '{"seconds": 0.5, "operations": 10, "cpu_s": 0.5}\n'), self.work)
        self.assertEqual((sample.cpu_s, sample.p50_us, sample.p99_us), (0.75, 3.5, 7.5))

    def test_no_line(self):
        with self.assertRaises(MeasurementError):
            base.read_own(self.pair('Segmentation fault\n'), self.work)


if __name__ == '__main__':
    unittest.main()
