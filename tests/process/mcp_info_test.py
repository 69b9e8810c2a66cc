#!/usr/bin/env python3
"""mcp-info as its users run it: as a process, against mcp-perf servers and what is none.

    tests/process/mcp_info_test.py MCP_INFO MCP_PERF
"""
import json
import os
import re
import signal
import socket
import sys
import threading

import harness
import mcp_info_schema

PROGRAM, PERF = sys.argv[1:3]


class McpInfo(harness.Processes):
    def info(self, *arguments):
        return self.run_to_end([PROGRAM, *arguments])

    def document(self, *arguments, status=0):
        code, out, error = self.info('--json', *arguments)
        self.assertEqual(code, status, error)
        document = json.loads(out)
        mcp_info_schema.check(document)
        return document

    def server(self, *arguments):
        process = self.start([PERF, '--port', '0', *arguments])
        line = self.read_until(process.stdout, 'listening on')
        return process, re.search(r':(\d+)$', line.strip())[1]

    def failed_step(self, *arguments):
        """Text and JSON of a check that fails agree; returns the step's name and its detail."""
        check = self.document(*arguments, status=1)['check']
        code, out, _ = self.info(*arguments)
        self.assertEqual(code, 1)
        self.assertIn('usually: ', out)
        self.assertIn(f'the first step that fails is {check["failed_step"]}', out)
        return check['failed_step'], check['steps'][-1]['detail']

    # This host.

    def test_facts_of_this_host(self):
        document = self.document()
        self.assertEqual(document['host']['name'], os.uname().nodename)
        self.assertIn(os.uname().release, document['host']['kernel'])
        self.assertIn('lo', [interface['name'] for interface in document['interfaces']])
        self.assertEqual([state['name'] for state in document['transports']], ['verbs', 'tcp'])
        devices = '/sys/class/infiniband'
        there = sorted(os.listdir(devices)) if os.path.isdir(devices) else []
        self.assertEqual([device['name'] for device in document['rdma_devices']], there)
        self.assertIsNone(document['between'])
        self.assertIsNone(document['check'])

    def test_text_says_what_is_missing(self):
        code, out, error = self.info()
        self.assertEqual((code, error), (0, ''))
        for heading in ('Transports', 'RDMA devices', 'Network interfaces', 'Memory', 'io_uring', 'GPUs',
                        'Kernel modules'):
            self.assertIn(f'\n{heading}', out)
        if not os.path.isdir('/sys/class/infiniband'):
            self.assertIn('none in /sys/class/infiniband', out)
            self.assertIn('no RDMA device: data goes over TCP', out)

    def test_between_two_addresses(self):
        between = self.document('--between', '127.0.0.1', '127.0.0.1')['between']
        self.assertEqual((between['transport'], between['interface']), ('tcp', 'lo'))
        self.assertTrue(between['reason'])
        stranger = self.document('--between', '192.0.2.77', '127.0.0.1', status=1)['between']
        self.assertEqual(stranger['transport'], '')
        self.assertIn('not an address of this host', stranger['reason'])

    def test_a_full_stdout_is_an_error(self):
        with open('/dev/full', 'w') as full:
            code, _, error = self.run_to_end([PROGRAM], stdout=full)
        self.assertEqual(code, 1)
        self.assertIn('stdout', error)

    def test_wrong_usage_is_exit_2(self):
        for arguments in (['--nonsense'], ['--check', 'host:0'], ['--between', '127.0.0.1'], ['--transport', 'tcp']):
            with self.subTest(arguments):
                code, out, error = self.info(*arguments)
                self.assertEqual((code, out), (2, ''))
                self.assertTrue(error.startswith('mcp-info: '), error)

    # Paths.

    def test_a_path_that_works(self):
        server, port = self.server()
        check = self.document('--check', f'127.0.0.1:{port}')['check']
        self.assertEqual([step['name'] for step in check['steps']], mcp_info_schema.STEPS)
        self.assertEqual(check['transport'], 'tcp')
        self.assertIn('every byte verified', check['steps'][-1]['detail'])
        code, out, _ = self.info('--check', f'localhost:{port}', '--transport', 'tcp')
        self.assertEqual(code, 0, out)
        self.assertIn('the path works, over tcp', out)
        self.assertIsNone(server.poll())

    def busy_server(self, duration_s):
        server, port = self.server()
        client = self.start([PERF, '127.0.0.1', '-p', port, '-t', 'put_bw', '-s', '64K', '-D', duration_s, '--quiet'])
        self.read_until(server.stdout, 'put_bw of 64 KiB')
        return client, port

    def test_a_server_that_stays_busy_is_told(self):
        client, port = self.busy_server('60')
        step, detail = self.failed_step('--check', f'127.0.0.1:{port}')
        self.assertEqual(step, 'transfer')
        self.assertIn('another client', detail)
        self.assertIsNone(client.poll())

    def test_a_busy_server_is_waited_for(self):
        _, port = self.busy_server('1')
        check = self.document('--check', f'127.0.0.1:{port}')['check']
        self.assertIn('busy', check['steps'][4]['detail'])
        self.assertIn('every byte verified', check['steps'][-1]['detail'])

    def test_a_stopped_server_fails_at_mcp(self):
        server, port = self.server()
        server.send_signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.failed_step('--check', f'127.0.0.1:{port}')[0], 'mcp')
        finally:
            server.send_signal(signal.SIGCONT)

    def test_an_unknown_name(self):
        step, detail = self.failed_step('--check', 'no-such-host.invalid')
        self.assertEqual(step, 'resolve')
        self.assertIn('no-such-host.invalid', detail)

    def test_a_port_on_which_nothing_listens(self):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            step, detail = self.failed_step('--check', f'127.0.0.1:{free.getsockname()[1]}')
        self.assertEqual(step, 'tcp')
        self.assertIn('ECONNREFUSED', detail)

    def test_something_else_that_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as stranger:
            def hang_up():
                while True:
                    try:
                        stranger.accept()[0].close()
                    except OSError:
                        return
            thread = threading.Thread(target=hang_up, daemon=True)
            thread.start()
            step, _ = self.failed_step('--check', f'127.0.0.1:{stranger.getsockname()[1]}')
            stranger.shutdown(socket.SHUT_RDWR)
            thread.join()
        self.assertEqual(step, 'mcp')

    def test_something_that_listens_and_says_nothing(self):
        with socket.create_server(('127.0.0.1', 0)) as silent:
            self.assertEqual(self.failed_step('--check', f'127.0.0.1:{silent.getsockname()[1]}')[0], 'mcp')

    def test_verbs_without_a_device_fails_at_rdma(self):
        if os.path.isdir('/sys/class/infiniband') and os.listdir('/sys/class/infiniband'):
            self.skipTest('this host has an RDMA device')
        _, port = self.server()
        step, detail = self.failed_step('--check', f'127.0.0.1:{port}', '--transport', 'verbs')
        self.assertEqual(step, 'rdma')
        self.assertIn('no RDMA device', detail)


if __name__ == '__main__':
    sys.exit(harness.main(McpInfo, sys.argv[3:]))
