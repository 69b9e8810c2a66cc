"""mcp-info where there is a device to tell of."""
import json

import mcp_info_schema

from .base import Perf, Setting


class Doctor(Perf):
    def diagnose(self, machine, *arguments, status=0):
        result = machine.run([Setting.mcp_info, '--json', *arguments], limit_s=60)
        self.assertEqual(result.status, status, result)
        document = json.loads(result.out)
        mcp_info_schema.check(document)
        return document

    def test_one_mcp_info_describes_the_device(self):
        machine = self.one()
        device, = [device for device in self.diagnose(machine)['rdma_devices'] if device['name'] == machine.device]
        port = device['ports'][0]
        self.assertEqual((device['problem'], port['state']), ('', 'ACTIVE'))
        self.assertIn(port['mtu_active_bytes'], (None, 1024, 2048, 4096))
        gid, = [gid for gid in port['gids'] if gid['address'] == machine.address and gid['type'] == 'RoCE v2']
        self.assertEqual((gid['interface'], gid['reach']), (machine.link, 'routable'))

    def test_one_mcp_info_chooses_between_addresses(self):
        machine = self.one()
        for address in (machine.address, machine.address6):
            with self.subTest(address):
                between = self.diagnose(machine, '--between', address, address)['between']
                self.assertEqual(between['interface'], machine.link)
                self.assertTrue(between['rails'][0]['usable'], between)
                self.assertEqual(between['rails'][0]['device'], machine.device)
                self.assertEqual(between['transport'], Setting.transport or 'tcp')

    def test_two_mcp_info_checks_the_path(self):
        self.start_server()
        check = self.diagnose(self.client_machine, '--check', self.server_machine.address)['check']
        self.assertEqual(check['transport'], Setting.transport)

    def test_two_mcp_info_finds_what_is_filtered(self):
        """RoCE v2 is UDP to port 4791: TCP passes, RDMA does not."""
        self.start_server()
        machine = self.server_machine
        drop = f'/usr/sbin/tc filter add dev {machine.link} ingress protocol ip u32 match ip protocol 17 0xff match ip ' \
               'dport 4791 0xffff action drop'
        self.shell(machine, f'/usr/sbin/tc qdisc add dev {machine.link} ingress && {drop}')
        self.addCleanup(self.shell, machine, f'/usr/sbin/tc qdisc delete dev {machine.link} ingress')
        check = self.diagnose(self.client_machine, '--check', machine.address, '--transport', Setting.transport,
                              status=1)['check']
        self.assertEqual(check['failed_step'], 'transfer')  # addresses are resolved without a packet of RDMA's own
        self.assertIn('4791', check['steps'][-1]['cause'])
