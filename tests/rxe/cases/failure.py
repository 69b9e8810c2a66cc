"""What must never hang and never bring wrong bytes: peers, devices, links and packets that go."""
import signal
import time

from .base import BRIEF, GONE_S, Perf

LOSSY_S = (3, 6, 12, 24)  # what a transfer goes on for under losses, if it does not fail before
NO_PATH = 3
CUT_KNOWN_S = 5  # a guest that is emulated on a busy host takes its time
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

    def test_two_cut_path(self):
        """As by a host that loses its power: nothing comes any more, and nobody says so. Queue pairs give up after 0.4 s,
        and the session half a second later."""
        self.start_server()
        client = self.start_transfer()
        self.addCleanup(self.lose_on_both, '0%')
        self.lose_on_both('100%')
        cut = time.monotonic()
        self.assert_fails_in_time(client)
        self.assertLess(time.monotonic() - cut, CUT_KNOWN_S)
        self.lose_on_both('0%')
        self.assert_serves()

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
        """Every transfer in the middle of which packets begin to get lost completes with its bytes, or ends in time with
        an error; and so does what connects meanwhile."""
        self.start_server()
        self.lose_on_both('0%')
        self.addCleanup(self.lose_on_both, '0%')
        for test in ('put_bw', 'get_bw', 'send_bw'):
            with self.subTest(test):
                self.assertGreater(self.lost_midway(test, share), 0)
        self.assert_bounded(self.start_client('-t', 'put_bw', '-s', '64K', *BRIEF), {0, 1, NO_PATH})

    def test_two_lossy_large_messages(self):
        self.large_messages({0, 1})

    def test_two_large_messages_outlast_losses(self):
        """Each of them loses packets again and again, and gets on all the same. Not so where the guests are starved."""
        self.large_messages({0})

    def large_messages(self, statuses):
        self.start_server()
        self.lose_on_both('0%')
        self.addCleanup(self.lose_on_both, '0%')
        self.assertGreater(self.lost_midway('send_bw', '1%', '2M', statuses), 0)

    def lost_midway(self, test, share, size='64K', statuses=frozenset({0, 1})):
        """How many packets a transfer lost. A starved guest may be done before the losses begin: then a longer one."""
        for duration_s in LOSSY_S:
            self.lose_on_both('0%')
            client = self.start_transfer(test, duration_s, size)
            before = self.lost_on_both()
            self.lose_on_both(share)
            self.assert_bounded(client, statuses)
            if lost := self.lost_on_both() - before:
                return lost
        return 0

    def lose_on_both(self, share):
        for machine in self.two():
            self.lose(machine, share)

    def lost_on_both(self):
        return sum(map(self.lost, self.two()))

    def assert_bounded(self, client, statuses=frozenset({0, 1})):
        result = client.wait(LOSSY_S[-1] + GONE_S)
        self.assertIn(result.status, statuses, result)
        document = self.document(result, result.status)
        errors = [line['error'] for line in document['results']]
        self.assertEqual(errors == [None], result.status == 0, result)
