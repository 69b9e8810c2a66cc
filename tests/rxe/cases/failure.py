"""What must never hang and never bring wrong bytes: peers, devices, links and packets that go."""
import signal

from .base import GONE_S, Perf

LOSSY = ('-t', 'put_bw,get_bw,send_bw', '-s', '64K', '-n', '40', '-w', '2', '--quiet')
LOSSY_S = 120
RDMA, IP = '/usr/bin/rdma', '/usr/sbin/ip'


class Failure(Perf):
    def test_two_killed_server(self):
        for test in ('put_bw', 'get_bw', 'send_bw'):
            with self.subTest(test):
                self.start_server()
                client = self.start_transfer(test)
                self.server.kill()
                self.server.wait()
                self.assert_fails_in_time(client)

    def test_two_killed_client(self):
        self.start_server()
        for test in ('put_bw', 'get_bw', 'send_bw'):
            with self.subTest(test):
                self.start_transfer(test).kill()
                self.assert_serves()

    def test_two_stopped_server(self):
        self.start_server()
        client = self.start_transfer()
        self.server.signal(signal.SIGSTOP)
        self.assert_fails_in_time(client)

    def test_two_stopped_client(self):
        self.start_server()
        client = self.start_transfer()
        client.signal(signal.SIGSTOP)
        self.assert_serves()

    def test_two_deleted_device_of_the_client(self):
        self.start_server()
        self.deleted_device(self.client_machine)
        self.assert_serves()

    def test_two_deleted_device_of_the_server(self):
        self.start_server()
        self.deleted_device(self.server_machine)
        self.assert_serves()

    def deleted_device(self, machine):
        """The kernel waits with the deletion until every program has let go of the device."""
        client = self.start_transfer()
        deletion = machine.start([RDMA, 'link', 'delete', machine.device], limit_s=2 * GONE_S)
        self.assert_fails_in_time(client)
        self.assertEqual(deletion.wait().status, 0, 'a program holds on to the deleted device')
        self.add_device(machine)

    def test_two_link_down(self):
        self.start_server()
        client = self.start_transfer()
        machine = self.client_machine
        self.shell(machine, [IP, 'link', 'set', machine.link, 'down'])
        self.addCleanup(self.mend_link, machine)
        self.assert_fails_in_time(client)

    def mend_link(self, machine):
        """rxe's own queue pair for connection management fails with the link and does not come back: a new device."""
        self.shell(machine, f'{IP} link set {machine.link} up && {IP} address replace {machine.address6}/64 dev '
                            f'{machine.link} nodad && {RDMA} link delete {machine.device}')
        self.add_device(machine)

    def add_device(self, machine):
        self.shell(machine, [RDMA, 'link', 'add', machine.device, 'type', 'rxe', 'netdev', machine.link])

    def test_two_lossy_1_percent(self):
        self.lossy('1%')

    def test_two_lossy_5_percent(self):
        self.lossy('5%')

    def lossy(self, share):
        """Every transfer completes with its bytes, or ends in time with an error."""
        self.start_server()
        for machine in self.two():
            self.lose(machine, share)
            self.addCleanup(self.lose, machine, '0%')
        result = self.start_client(*LOSSY).wait(LOSSY_S)
        document = self.document(result, status=1 if result.status == 1 else 0)
        self.assertEqual(len(document['results']), 3)
        if result.status == 0:
            self.assertEqual([line['error'] for line in document['results']], [None] * 3)
        self.assertGreater(self.lost(self.client_machine) + self.lost(self.server_machine), 0)
