"""The rig itself, and the device by other people's programs: what fails here is not ours to explain."""
from .base import Case, Setting


class Device(Case):
    def write_bandwidth(self, server_machine, client_machine):
        command = ['ib_write_bw', '-d', 'rxe0', '-s', '65536', '-n', '200']
        server = server_machine.start_server(command)
        self.shell(client_machine, [*command, server_machine.address])
        server.wait()

    def test_one_has_an_active_device(self):
        machine = self.one()
        shown = self.shell(machine, ['ibv_devinfo', '-d', machine.device])
        self.assertIn('PORT_ACTIVE', shown)
        if machine.disposable:
            self.assertRegex(shown, r'active_mtu:\s+4096')

    def test_one_has_the_kernel_that_was_asked_for(self):
        machine = self.one()
        if not machine.name.startswith('guest'):
            self.skipTest(f'{machine.name}: it has the kernel it has')
        self.assertTrue(machine.kernel.startswith(Setting.kernel + '.'), machine.kernel)

    def test_one_passes_rping(self):
        machine = self.one()
        server = machine.start_server(['rping', '-s', '-a', machine.address, '-C', '20', '-V'], limit_s=30)
        self.shell(machine, ['rping', '-c', '-a', machine.address, '-C', '20', '-V', '-S', '4000'], limit_s=30)
        server.wait()

    def test_two_pass_rping_by_ipv4_and_ipv6(self):
        server_machine, client_machine = self.two()
        for address in (server_machine.address, server_machine.address6):
            with self.subTest(address):
                server = server_machine.start_server(['rping', '-s', '-a', address, '-C', '20', '-V'], limit_s=30)
                self.shell(client_machine, ['rping', '-c', '-a', address, '-C', '20', '-V', '-S', '4000'], limit_s=30)
                server.wait()

    def test_two_lose_packets_only_where_netem_loses_them(self):
        server_machine, client_machine = self.two()
        lost = []
        for loss in ('0%', '5%'):
            self.lose(client_machine, loss)
            before = self.lost(client_machine)
            self.write_bandwidth(server_machine, client_machine)
            lost.append(self.lost(client_machine) - before)
        self.lose(client_machine, '0%')
        self.assertEqual(lost[0], 0)
        self.assertGreater(lost[1], 0)
