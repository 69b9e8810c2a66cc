"""Hosts of two devices, each on a wire of its own: a session takes both, and outlasts the loss of one."""
import contextlib
import json
import time

import mcp_info_schema
from rig import network

from .base import GONE_S, UNDER_WAY_BYTES, Perf, Setting

IP, RDMA = network.IP, network.RDMA
RAILS = ('--rails', '2')
SHARE = ('-n', '10', '-w', '2', '--quiet')  # of 1 MiB each: enough that both wires show it
AFTER_LOSS_S = 12  # enough for a rail whose link is cut to find its other way, and to go on there


class Devices(Perf):
    def start_servers_on_two(self):
        self.need_verbs()
        for number, machine in enumerate(self.two(), 1):
            network.add_second_device(machine, number)
            self.addCleanup(network.remove_second_device, machine)
        self.start_server()

    @contextlib.contextmanager
    def both_move(self, bytes_min):
        """What runs inside moves so much over each of the two wires."""
        links = (self.client_machine.link, network.SECOND_LINK)
        before = list(map(self.moved_bytes, links))
        yield
        for link, at_first in zip(links, before):
            self.assertGreater(self.moved_bytes(link), at_first + bytes_min, f'{link} carried next to nothing')

    def test_two_devices_are_taken(self):
        """Those asked for, and by choice: each carries its share of all that is sent, and every byte is verified."""
        self.start_servers_on_two()
        for chosen in (('--device', 'rxe0,rxe1'), ()):
            with self.subTest(chosen), self.both_move(5 << 20):
                document = self.measure('-t', 'put_bw,get_bw,send_bw', '-s', '1M', *RAILS, *chosen, brief=SHARE)
                self.assertEqual(document['local']['rails'], 2)
                self.assertEqual(document['local']['device'], 'rxe0/1, rxe1/1')

    def test_two_devices_are_ranked(self):
        """By mcp-info as by the transport: the one where the path begins, then the other, and why not one that is down."""
        self.start_servers_on_two()
        there = network.SECOND_PREFIX + '1'
        for from_prefix, first, second in ((network.PREFIX, 'rxe0', 'rxe1'), (network.SECOND_PREFIX, 'rxe1', 'rxe0')):
            ports = self.ports_between(f'{from_prefix}2', f'{from_prefix}1')
            self.assertEqual([(port['device'], port['used']) for port in ports], [(first, True), (second, True)], ports)
            self.assertIn('first rail', ports[0]['reason'])
        self.shell(self.client_machine, [IP, 'link', 'set', network.SECOND_LINK, 'down'])
        ports = self.ports_between(self.client_machine.address, there)
        self.assertEqual([(port['device'], port['used']) for port in ports], [('rxe0', True), ('rxe1', False)], ports)
        self.assertIn('DOWN', ports[1]['reason'])

    def ports_between(self, here, there):
        out = self.shell(self.client_machine, [Setting.mcp_info, '--json', '--between', here, there])
        document = json.loads(out)
        mcp_info_schema.check(document)
        self.assertEqual(document['between']['transport'], Setting.transport, document['between'])
        return document['between']['ports']

    def start_on_both(self, test):
        """A transfer in the middle of which both wires have carried something."""
        client = self.start_transfer(test, AFTER_LOSS_S, '1M', RAILS)
        at_first, deadline = self.moved_bytes(network.SECOND_LINK), time.monotonic() + GONE_S
        while self.moved_bytes(network.SECOND_LINK) < at_first + UNDER_WAY_BYTES:
            self.assertIsNone(client.status, f'{client.text()}{client.text("error")}')
            self.assertLess(time.monotonic(), deadline, 'the second wire carries nothing')
        return client

    def assert_completes(self, client):
        """Over what is left, with every byte as it was sent."""
        document = self.document(client.wait(AFTER_LOSS_S + GONE_S))
        for line in document['results']:
            self.assertIsNone(line['error'])
            self.assertGreater(line['verified_bytes'], 0)

    def test_two_devices_one_deleted(self):
        self.start_servers_on_two()
        for machine, test in zip(self.two(), ('put_bw', 'send_bw')):
            with self.subTest(machine.name):
                client = self.start_on_both(test)
                deletion = machine.start([RDMA, 'link', 'delete', network.SECOND_DEVICE], limit_s=2 * GONE_S)
                self.assert_completes(client)
                self.end(self.server)  # until then the kernel waits with the deletion
                self.assertEqual(deletion.wait().status, 0, 'a program holds on to the deleted device')
                network.add_second_device(machine, 1 + self.two().index(machine))
                self.start_server()

    def test_two_devices_one_link_down(self):
        self.start_servers_on_two()
        client = self.start_on_both('send_bw')
        self.shell(self.client_machine, [IP, 'link', 'set', network.SECOND_LINK, 'down'])
        before = self.moved_bytes()
        self.assert_completes(client)
        self.assertGreater(self.moved_bytes(), before + UNDER_WAY_BYTES, 'nothing went on over the other wire')
