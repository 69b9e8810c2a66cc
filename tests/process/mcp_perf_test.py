#!/usr/bin/env python3
"""mcp-perf as its users run it: as processes.

    tests/process/mcp_perf_test.py MCP_PERF [test_name...]
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import harness
import mcp_perf_schema

PROGRAM = sys.argv[1]
# Of every measurement here: long enough to be one, short enough for a sanitizer.
BRIEF = ('-D', '0.05', '--quiet')
CONNECT_TIMEOUT_S = 5
PEER_TIMEOUT_S = 5
NO_RDMA = 'no RDMA device|no verbs transport'  # on a host without hardware; in a build without verbs
ALL_TESTS = ['put_bw', 'put_lat', 'get_bw', 'get_lat', 'send_bw', 'send_lat']


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
        return True
    except OSError:
        return False


def ip(*arguments):
    return subprocess.run(['ip', *arguments], capture_output=True, text=True)


class McpPerf(harness.Processes):
    def perf(self, *arguments, prefix=(), **options):
        return self.run_to_end([*prefix, PROGRAM, *arguments], **options)

    def document(self, *arguments, status=0, verified=True, **options):
        code, out, error = self.perf(*arguments, '--json', '-', **options)
        self.assertEqual(code, status, error)
        document = json.loads(out)
        mcp_perf_schema.check(document, verified)
        return document

    def server(self, *arguments, prefix=(), **options):
        """Starts a server and returns it with its port."""
        process = self.start([*prefix, PROGRAM, '--port', '0', *arguments], **options)
        line = self.read_until(process.stdout, 'listening on')
        return process, re.search(r':(\d+)$', line.strip())[1]

    # The document.

    def test_loopback_runs_every_test_and_verifies_every_byte(self):
        document = self.document('--loopback', '-t', 'all', '-s', '1,64,4K,64K,1M', *BRIEF)
        self.assertEqual([(r['test'], r['size_bytes']) for r in document['results']],
                         [(t, s) for t in ALL_TESTS for s in (1, 64, 4096, 65536, 1 << 20)])
        self.assertEqual([r['error'] for r in document['results']], [None] * len(document['results']))
        self.assertEqual(document['local']['transport'], 'tcp')
        self.assertIn('verbs', [f['wanted'] for f in document['fallbacks']])
        self.assertIn('replicate_bw', [f['wanted'] for f in document['fallbacks']])
        for result in document['results']:
            whole = result['test'].startswith('send') and result['size_bytes'] <= 4096
            announced = not result['test'].startswith('send') or result['size_bytes'] == 1 << 20
            if whole or announced:  # in between it depends on what else is under way
                self.assertEqual(result['protocols']['eager'], result['operations'] if whole else 0, result)

    def test_iterations_are_exact(self):
        document = self.document('--loopback', '-t', 'all', '-s', '64,100000', '-n', '777', '-w', '5', '--quiet')
        self.assertEqual({r['operations'] for r in document['results']}, {777})

    def test_large_operations(self):
        document = self.document('--loopback', '-t', 'put_bw,get_bw,send_bw,put_lat', '-s', '16M', '-n', '6', '-w', '2',
                                 '-o', '4', '--quiet')
        self.assertEqual(len(document['results']), 4)

    def test_without_verification_nothing_is_verified(self):
        document = self.document('--loopback', '-t', 'all', '-s', '64,256K', '--no-verify', *BRIEF, verified=False)
        self.assertEqual({r['error'] for r in document['results']}, {None})

    def test_checksums_rails_and_data(self):
        for options in (('--checksum', 'off'), ('--rails', '1'), ('--rails', '4'), ('-o', '1'), ('-o', '500'),
                        ('--data', 'zeros'), ('--data', 'sparse:0.9'), ('--data', 'file:' + PROGRAM)):
            with self.subTest(options):
                document = self.document('--loopback', '-t', 'put_bw,send_bw', '-s', '5000', *options, *BRIEF)
                if options[0] == '--rails':
                    self.assertEqual(document['local']['rails'], int(options[1]))

    def test_transport_tcp_falls_back_from_nothing(self):
        document = self.document('--loopback', '-t', 'put_bw', '-s', '64', '--transport', 'tcp', *BRIEF)
        self.assertNotIn('verbs', [f['wanted'] for f in document['fallbacks']])

    def skip_where_there_is_rdma(self):
        if os.path.isdir('/sys/class/infiniband') and os.listdir('/sys/class/infiniband'):
            self.skipTest('this host has an RDMA device')

    def test_transport_auto_without_a_device_goes_to_tcp_and_says_why(self):
        self.skip_where_there_is_rdma()
        _, port = self.server()
        document = self.document('127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '64', '--transport', 'auto', *BRIEF)
        self.assertEqual({document[side]['transport'] for side in ('local', 'remote')}, {'tcp'})
        fallback, = [fallback for fallback in document['fallbacks'] if fallback['wanted'] == 'verbs']
        self.assertEqual(fallback['used'], 'tcp')
        self.assertRegex(fallback['reason'], NO_RDMA)

    def test_transport_verbs_without_a_device_is_exit_3_with_the_reason(self):
        self.skip_where_there_is_rdma()
        _, port = self.server()
        for where in (('--loopback',), ('127.0.0.1', '-p', port)):
            with self.subTest(where):
                code, out, error = self.perf(*where, '-t', 'put_bw', '-s', '64', '--transport', 'verbs', *BRIEF)
                self.assertEqual(code, 3, out + error)
                self.assertRegex(error, NO_RDMA)

    def test_files_are_written(self):
        code, out, error = self.perf('--loopback', '-t', 'put_bw,put_lat', '-s', '64,4K', '--json', self.path('a.json'),
                                     '--csv', self.path('a.csv'), '--plot', self.path('a.svg'), *BRIEF)
        self.assertEqual(code, 0, error)
        with open(self.path('a.json')) as file:
            mcp_perf_schema.check(json.load(file))
        with open(self.path('a.csv')) as file:
            self.assertEqual(len(file.read().splitlines()), 5)
        with open(self.path('a.svg')) as file:
            self.assertIn('put_bw', file.read())
        self.assertEqual(sorted(os.listdir(self.folder.name)), ['a.csv', 'a.json', 'a.svg'])
        self.assertRegex(out, r'put_bw +4 KiB .* all\n')
        self.assertEqual(error, '')

    # Addresses.

    def test_client_and_server_by_ipv4_ipv6_and_name(self):
        server, port = self.server()
        hosts = ['127.0.0.1', 'localhost'] + (['::1', '[::1]'] if has_ipv6() else [])
        for host in hosts:
            with self.subTest(host):
                self.document(host, '-p', port, '-t', 'put_bw,put_lat', '-s', '64', *BRIEF)
        server.terminate()
        self.assertEqual(server.wait(timeout=10), 0)
        if not has_ipv6():
            self.skipTest('this host has no IPv6; IPv4 and names passed')

    def test_loopback_over_ipv6(self):
        if not has_ipv6():
            self.skipTest('this host has no IPv6')
        self.document('--loopback', '-B', '::1', '-t', 'put_bw', '-s', '64,1M', *BRIEF)

    # Wrong usage.

    def test_wrong_options_name_the_option(self):
        for arguments, named in ((['--nonsense'], '--nonsense'), (['-s', '1Q'], '--size'), (['-t', 'x'], '--test'),
                                 (['-n', '-1'], '--iterations'), (['--transport', 'ucx'], '--transport'),
                                 (['--memory', 'cuda:0'], '--memory'), (['--codec', 'auto'], '--codec'),
                                 (['--copies', '2'], '--copies'), (['-t', 'replicate_bw'], '--test'),
                                 (['-t', 'put_bw', '--protocol', 'stream'], '--protocol'),
                                 (['-t', 'send_bw', '--protocol', 'udp'], '--protocol'), (['--rails', '9'], '--rails'),
                                 (['--gid-index', '256'], '--gid-index'),
                                 (['--transport', 'tcp', '--device', 'mlx5_0'], '--device'),
                                 (['--transport', 'tcp', '--gid-index', '1'], '--gid-index')):
            with self.subTest(arguments):
                code, out, error = self.perf('--loopback', *arguments)
                self.assertEqual((code, out), (2, ''))
                self.assertTrue(error.startswith('mcp-perf: '), error)
                self.assertIn(named, error)

    # Results that cannot be written.

    def test_unwritable_targets_are_found_before_the_tests(self):
        for option in ('--json', '--csv', '--plot'):
            with self.subTest(option):
                started = time.monotonic()
                code, _, error = self.perf('--loopback', '-D', '30', option, self.path('no/such/file'))
                self.assertEqual(code, 1)
                self.assertIn('no/such/file', error)
                self.assertIn('No such file or directory', error)
                self.assertLess(time.monotonic() - started, 20)

    def test_a_full_device_is_an_error_and_no_lost_result(self):
        code, _, error = self.perf('--loopback', '-t', 'put_bw', '-s', '64', '--json', '/dev/full', *BRIEF)
        self.assertEqual(code, 1)
        self.assertIn('--json /dev/full: write', error)
        self.assertIn('No space left on device', error)
        mcp_perf_schema.check(json.loads(error[error.index('{'):]))

    def test_a_full_stdout_is_an_error(self):
        with open('/dev/full', 'w') as full:
            code, _, error = self.perf('--loopback', '-t', 'put_bw', '-s', '64', '--json', '-', *BRIEF, stdout=full)
        self.assertEqual(code, 1)
        self.assertIn('No space left on device', error)

    def test_a_full_file_system_is_found_before_the_tests(self):
        mount = 'mount -t tmpfs -o size=4k none "$0" && echo x > "$0/x" && exec "$@"'
        target = self.path('full')
        os.mkdir(target)
        probe, _, error = self.run_to_end(['unshare', '-m', 'sh', '-c', mount, target, 'true'])
        if probe != 0:
            self.skipTest(f'no mount namespace: {error.strip()}')
        code, _, error = self.perf('--loopback', '-D', '30', '--json', target + '/a.json',
                                   prefix=('unshare', '-m', 'sh', '-c', mount, target))
        self.assertEqual(code, 1)
        self.assertIn('No space left on device', error)

    # No path, and peers that leave.

    def test_no_server_is_exit_3_within_the_timeout(self):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        started = time.monotonic()
        document = self.document('127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '64,4K', status=3)
        self.assertLess(time.monotonic() - started, CONNECT_TIMEOUT_S + 3)
        self.assertEqual(len(document['results']), 2)
        self.assertTrue(all(result['error'] for result in document['results']))

    def test_a_server_that_says_nothing_is_exit_3_within_the_timeout(self):
        with socket.create_server(('127.0.0.1', 0)) as silent:
            started = time.monotonic()
            code, _, error = self.perf('127.0.0.1', '-p', str(silent.getsockname()[1]))
            self.assertEqual(code, 3, error)
            self.assertLess(time.monotonic() - started, CONNECT_TIMEOUT_S + 3)

    def test_an_unknown_name_is_exit_3(self):
        code, _, error = self.perf('no-such-host.invalid')
        self.assertEqual(code, 3)
        self.assertIn('no-such-host.invalid', error)

    def test_a_port_that_is_taken_is_an_error_of_the_server(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            code, _, error = self.perf('-B', '127.0.0.1', '-p', str(taken.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn('in use', error.lower())

    def interrupted_client(self, port, *tests):
        """A client that is in the middle of a long test."""
        return self.start([PROGRAM, '127.0.0.1', '-p', port, '-t', *tests, '-s', '64K', '-D', '60'])

    def test_a_killed_client_leaves_the_server_for_the_next(self):
        server, port = self.server()
        for test in ALL_TESTS:
            client = self.interrupted_client(port, test)
            self.read_until(server.stdout, f'{test} of 64 KiB')
            client.kill()
            client.wait()
        self.document('127.0.0.1', '-p', port, '-t', 'put_bw,send_bw', '-s', '4K', *BRIEF)
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(timeout=10), 0)

    def test_a_stopped_client_does_not_hold_the_server_for_ever(self):
        server, port = self.server()
        client = self.interrupted_client(port, 'put_bw')
        self.read_until(server.stdout, 'put_bw of 64 KiB')
        client.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        self.document('127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '4K', *BRIEF)
        self.assertLess(time.monotonic() - started, PEER_TIMEOUT_S + 15)
        client.kill()

    def test_a_killed_server_fails_the_client_and_leaves_a_document(self):
        for test in ('put_bw', 'get_lat', 'send_bw'):
            with self.subTest(test):
                server, port = self.server()
                client = self.start([PROGRAM, '127.0.0.1', '-p', port, '-t', test, '-s', '64K,128K', '-D', '60', '--json',
                                     '-'])
                self.read_until(server.stdout, 'of 64 KiB')
                server.kill()
                out, error = client.communicate(timeout=PEER_TIMEOUT_S + 15)
                self.assertEqual(client.returncode, 1, error)
                document = json.loads(out)
                mcp_perf_schema.check(document)
                self.assertEqual(len(document['results']), 2)
                self.assertTrue(all(result['error'] for result in document['results']))

    def test_a_killed_server_leaves_its_port_to_the_next(self):
        server, port = self.server()
        for test in ('put_bw', 'get_lat', 'send_bw'):
            self.interrupted_client(port, test)
            self.read_until(server.stdout, 'of 64 KiB')
            server.kill()
            server.wait()
            server = self.start([PROGRAM, '--port', port])
            self.read_until(server.stdout, 'listening on')

    def test_an_interrupted_client_leaves_a_document(self):
        server, port = self.server()
        client = self.start([PROGRAM, '127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '64K', '-D', '60', '--json', '-'])
        self.read_until(server.stdout, 'of 64 KiB')
        client.send_signal(signal.SIGINT)
        out, error = client.communicate(timeout=20)
        self.assertEqual(client.returncode, 1, error)
        document = json.loads(out)
        mcp_perf_schema.check(document)
        self.assertIn('interrupted', document['results'][0]['error'])

    def test_loopback_leaves_no_orphan(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                perf = self.start([PROGRAM, '--loopback', '-t', 'put_bw', '-s', '64K', '-D', '60'])
                child = self.child_of(perf.pid)
                perf.send_signal(number)
                perf.wait(timeout=20)
                self.await_end(child)

    def test_loopback_fails_when_its_server_dies(self):
        perf = self.start([PROGRAM, '--loopback', '-t', 'put_bw', '-s', '64K', '-D', '60', '--json', '-'])
        os.kill(self.child_of(perf.pid), signal.SIGKILL)
        out, error = perf.communicate(timeout=PEER_TIMEOUT_S + 15)
        self.assertEqual(perf.returncode in (1, 3), True, perf.returncode)
        self.assertIn('signal 9', error)

    def child_of(self, parent):
        """The server process, once it is there and has become what it is."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with open(f'/proc/{parent}/task/{parent}/children') as file:
                for child in file.read().split():
                    with open(f'/proc/{child}/comm') as comm:
                        if comm.read().strip() == 'mcp-perf-server':
                            return int(child)
        self.fail('the server process did not come up')

    def await_end(self, process):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with open(f'/proc/{process}/stat') as file:
                    if file.read().rsplit(')', 1)[1].split()[0] == 'Z':
                        return
            except (FileNotFoundError, ProcessLookupError):
                return
        self.fail(f'process {process} outlived the one that started it')

    # Verification.

    def test_bytes_that_change_in_the_receivers_memory_are_found(self):
        with open(PROGRAM, 'rb') as file:
            if b'__tsan_init' in file.read():
                self.skipTest("under ThreadSanitizer the ring's mapping cannot be told from others")
        for test in ('put_bw', 'get_bw', 'send_bw'):
            with self.subTest(test):
                perf = self.start([PROGRAM, '--loopback', '-t', test, '-s', '64K', '-o', '512', '-D', '20', '--json', '-'])
                server = self.child_of(perf.pid)
                self.damage(perf, perf.pid if test == 'get_bw' else server)
                out, error = perf.communicate(timeout=60)
                self.assertEqual(perf.returncode, 1, error)
                document = json.loads(out)
                mcp_perf_schema.check(document)
                self.assertRegex(document['results'][0]['error'], r'byte \d+ is 0x[0-9a-f]{2}, and 0x[0-9a-f]{2} was sent')

    def damage(self, perf, receiver):
        """Writes into the receiver's ring, a byte for each slot, until mcp-perf ends."""
        ring_bytes, ring_bytes_max, slot_bytes = 32 << 20, 40 << 20, 64 << 10
        deadline = time.monotonic() + 60
        while perf.poll() is None and time.monotonic() < deadline:
            try:
                with open(f'/proc/{receiver}/maps') as maps, open(f'/proc/{receiver}/mem', 'wb', buffering=0) as memory:
                    for line in maps:
                        begin, end = (int(address, 16) for address in line.split()[0].split('-'))
                        if not ring_bytes <= end - begin <= ring_bytes_max:
                            continue  # nor is a sanitizer's own memory touched
                        for address in range(begin + 100, end, slot_bytes):
                            os.pwrite(memory.fileno(), b'x', address)
            except PermissionError as error:
                self.skipTest(f'the memory of another process is out of reach: {error}')
            except (OSError, ValueError):
                pass  # the mapping, or the process, went away meanwhile

    # The server.

    def test_once_ends_the_server_after_one_client(self):
        server, port = self.server('--once')
        self.document('127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '64', *BRIEF)
        self.assertEqual(server.wait(timeout=10), 0)

    def test_clients_wait_for_their_turn(self):
        server, port = self.server()
        results = []

        def client():
            results.append(self.perf('127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '4K', '-D', '0.2', '--quiet'))

        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([code for code, _, _ in results], [0, 0, 0], results)

    def test_strangers_do_not_disturb_the_server(self):
        server, port = self.server()
        strangers = [socket.create_connection(('127.0.0.1', int(port))) for _ in range(20)]
        for stranger in strangers[:10]:
            stranger.sendall(b'GET / HTTP/1.1\r\nHost: mcp\r\n\r\n' * 100)
        self.document('127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '64', *BRIEF)
        for stranger in strangers:
            stranger.close()
        self.document('127.0.0.1', '-p', port, '-t', 'send_lat', '-s', '64', *BRIEF)

    # Two hosts, as far as one host can be two.

    def namespaces(self, links):
        """Two network namespaces, joined by as many veth pairs as there are (name, name) in `links`."""
        names = [f'mcp-perf-{os.getpid()}-{side}' for side in 'ab']
        try:
            for name in names:
                if ip('netns', 'add', name).returncode != 0:
                    self.skipTest('network namespaces need root and iproute2')
                self.addCleanup(ip, 'netns', 'del', name)
        except FileNotFoundError:
            self.skipTest('network namespaces need iproute2')
        for ends in links:
            made = ip('link', 'add', ends[0], 'netns', names[0], 'type', 'veth', 'peer', 'name', ends[1], 'netns', names[1])
            if made.returncode != 0:
                self.skipTest(f'no veth pair: {made.stderr.strip()}')
            for name, end in zip(names, ends):
                ip('-n', name, 'link', 'set', end, 'up')
        return names

    def test_between_two_network_namespaces(self):
        links = [f'mp{os.getpid() % 100000}{side}' for side in 'ab']
        names = self.namespaces([links])
        addresses = {'10.99.0.{}': '24', 'fd99::{}': '64'}
        for index, (name, link) in enumerate(zip(names, links), 1):
            for address, prefix in addresses.items():
                nodad = ['nodad'] if ':' in address else []
                ip('-n', name, 'address', 'add', f'{address.format(index)}/{prefix}', 'dev', link, *nodad)
        prefixes = [('ip', 'netns', 'exec', name) for name in names]
        server, port = self.server(prefix=prefixes[0])
        for address in addresses:
            with self.subTest(address):
                host = address.format(1)
                document = self.document(host, '-p', port, '-t', 'all', '-s', '64,1M', *BRIEF, prefix=prefixes[1])
                self.assertEqual({r['error'] for r in document['results']}, {None})
        server.terminate()
        self.assertEqual(server.wait(timeout=10), 0)

    def test_routes_of_equal_cost_that_begin_at_different_addresses(self):
        links = [[f'mp{os.getpid() % 100000}{side}{link}' for side in 'ab'] for link in range(2)]
        names = self.namespaces(links)
        for link, ends in enumerate(links):
            for index, (name, end) in enumerate(zip(names, ends), 1):
                ip('-n', name, 'address', 'add', f'10.99.{link}.{index}/24', 'dev', end)
        prefixes = [('ip', 'netns', 'exec', name) for name in names]
        ip('-n', names[0], 'address', 'add', '10.99.9.1/32', 'dev', 'lo')
        subprocess.run([*prefixes[1], 'sysctl', '-q', '-w', 'net.ipv4.fib_multipath_hash_policy=1'], check=True)
        routed = ip('-n', names[1], 'route', 'add', '10.99.9.1/32', *(
            word for link in range(2) for word in ('nexthop', 'via', f'10.99.{link}.1')))
        if routed.returncode != 0:
            self.skipTest(f'no routes of equal cost: {routed.stderr.strip()}')
        _, port = self.server(prefix=prefixes[0])
        for _ in range(8):  # which route a connection takes depends on its ports
            self.document('10.99.9.1', '-p', port, '-t', 'send_lat', '-s', '64', '--rails', '2', *BRIEF,
                          prefix=prefixes[1])


if __name__ == '__main__':
    sys.exit(harness.main(McpPerf))
