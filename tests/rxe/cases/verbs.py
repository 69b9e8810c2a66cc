"""The verbs transport: the contract suite within one host, mcp-perf within one and between two."""
import json
import re

import mcp_perf_schema

from .base import BRIEF, GONE_S, Perf, Setting

TESTS = ['put_bw', 'put_lat', 'get_bw', 'get_lat', 'send_bw', 'send_lat']
FEW = ('-n', '3', '-w', '1', '--quiet')
CASES = '*verbs*:EngineTransport*:-*verbs_fake*'  # the device in memory needs no guest
# An emulated device is slow: each kernel runs every case, under half of the settings that sessions have.
LEFT_OUT = {'6.1': ('lanes0_rails3_unchecked', 'lanes1_rails2', 'lanes2_rails4'),
            '6.12': ('lanes0_rails1', 'lanes2_rails2_protected', 'lanes2_rails2_unchecked')}
SHARDS = 2  # as many as a guest has cores
CONTRACT_S = 500  # alone on two cores it takes 80
CASE = re.compile(r'\[ +(OK|FAILED|SKIPPED) +\] \S+.* \(\d+ ms\)$', re.MULTILINE)


class Verbs(Perf):
    def test_one_passes_the_contract_suite(self):
        self.need_verbs()
        machine = self.one()
        cases = ':'.join([CASES, *(f'*/verbs_{setting}' for setting in LEFT_OUT[Setting.kernel])])
        shards = [machine.start([Setting.contract_tests, f'--gtest_filter={cases}'], CONTRACT_S,
                                environment={'GTEST_TOTAL_SHARDS': str(SHARDS), 'GTEST_SHARD_INDEX': str(shard)})
                  for shard in range(SHARDS)]
        for shard in shards:
            result = shard.wait()
            print(result.out, end='')  # each of its cases counts in the summary
            self.assertEqual(result.status, 0, result.error)
            self.assertIn('OK', {case[1] for case in CASE.finditer(result.out)}, f'nothing ran: {result}')

    def test_one_measures_over_loopback(self):
        self.need_verbs()
        result = self.one().run([Setting.mcp_perf, '--loopback', '--transport', Setting.transport, '-B',
                                 self.one().address, '-t', 'all', '-s', '64,64K', '--json', '-', *BRIEF])
        self.document(result)

    def test_one_takes_verbs_by_itself(self):
        self.need_verbs()
        for bind in ((), ('-B', self.one().address), ('-B', self.one().address6)):
            with self.subTest(bind):
                document = self.loopback(*bind)
                self.assertEqual(document['local']['transport'], Setting.transport)
                self.assertNotIn('verbs', [fallback['wanted'] for fallback in document['fallbacks']])

    def test_one_takes_tcp_where_no_device_has_the_address(self):
        self.need_verbs()
        document = self.loopback('-B', '127.0.0.1')
        self.assertEqual(document['local']['transport'], 'tcp')
        reason, = [fallback['reason'] for fallback in document['fallbacks'] if fallback['wanted'] == 'verbs']
        self.assertIn('no RDMA device has the address 127.0.0.1', reason)

    def loopback(self, *bind):
        out = self.shell(self.one(), [Setting.mcp_perf, '--loopback', *bind, '-t', 'put_bw', '-s', '64', '--json', '-',
                                      *BRIEF])
        document = json.loads(out)
        mcp_perf_schema.check(document)
        return document

    def test_two_measure_every_test(self):
        self.start_server()
        document = self.measure('-t', 'all', '-s', '1,64,4K,64K,1M')
        self.assertEqual([(line['test'], line['size_bytes']) for line in document['results']],
                         [(test, size) for test in TESTS for size in (1, 64, 4096, 65536, 1 << 20)])

    def test_two_measure_by_ipv6(self):
        self.start_server()
        self.measure('-t', 'put_bw,send_bw', '-s', '64K', address=self.server_machine.address6)

    def test_two_measure_by_the_gid_that_is_asked_for(self):
        self.start_server()
        machine = self.client_machine
        facts = json.loads(self.shell(machine, [Setting.mcp_info, '--json']))
        gids = {gid['address']: str(gid['index']) for device in facts['rdma_devices']
                if device['name'] == machine.device for gid in device['ports'][0]['gids']}
        by_ipv4, by_ipv6 = gids[machine.address], gids[machine.address6]
        once = ('-t', 'put_bw', '-s', '4K')
        self.measure(*once, '--gid-index', by_ipv4)
        self.measure(*once, '--gid-index', by_ipv6, address=self.server_machine.address6)
        result = self.start_client(*once, *BRIEF, '--gid-index', by_ipv6).wait(GONE_S)
        error, = [line['error'] for line in self.document(result, status=3)['results']]
        self.assertIn(f'no GID of index {by_ipv6} stands for an address to reach it from', error)

    def test_two_measure_large_operations_over_several_rails(self):
        self.start_server()
        for rails in ('1', '2'):
            with self.subTest(rails):
                document = self.measure('-t', 'put_bw,get_bw,send_bw', '-s', '9M', '-o', '2', '--rails', rails,
                                        brief=FEW)
                self.assertEqual(document['local']['rails'], int(rails))
