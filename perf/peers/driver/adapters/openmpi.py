"""Open MPI over its TCP transport, through programs/openmpi.c.

mpirun reaches the second namespace through a launch agent (programs/openmpi_agent) in the place of ssh.
"""
import os
import pathlib
import shutil

from .. import build, model, processes
from .base import OwnProgram, read_own, spinner_cores, timeout_s

_AGENT = pathlib.Path(build.PROGRAMS) / 'openmpi_agent'


class OpenMpi(OwnProgram):
    name = 'Open MPI'
    package = 'libopenmpi3'
    program = 'openmpi'
    tests = ('put_bw', 'send_bw', 'get_bw', 'send_lat')
    # osc sm and rdma are out: on one host they would put into shared memory instead of TCP.
    fixed = 'btl tcp,self, pml ob1, osc pt2pt, mpi_yield_when_idle 0'

    def missing(self):
        return super().missing() or (None if shutil.which('mpirun') else 'mpirun is not installed')

    def is_one_spinner(self, row):
        return True

    def candidates(self, row, size):
        if model.is_latency(row.test):
            return [{'links': 1}]
        return [{**one, 'links': links} for links in (1, 2) for one in self.windowed(row, size)]

    def measure(self, path, row, settings, work):
        mca = {'btl': 'tcp,self', 'pml': 'ob1', 'osc': 'pt2pt', 'btl_tcp_links': settings['links'],
               'mpi_yield_when_idle': 0 if os.cpu_count() >= 2 else 1,
               'btl_tcp_if_include': path.device, 'oob_tcp_if_include': path.device}
        environment = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
        hosts = [[], []]
        if path.spans_namespaces:
            mca['plm_rsh_agent'] = _AGENT
            environment['PEERS_SERVER_PID'] = str(path.namespaces[1].pid)
            hosts = [['--host', f'{path.client_address}:1'], ['--host', f'{path.server_address}:1']]
        command = ['mpirun', '--bind-to', 'none']  # its own binding would give both namespaces the same core
        for name, value in mca.items():
            command += ['--mca', name, value]
        arguments = self.arguments(row, settings, work)
        server_core, client_core = spinner_cores()
        command += ['-np', 1, *hosts[0], *client_core, *arguments, ':', '-np', 1, *hosts[1], *server_core, *arguments]
        pair = processes.run_pair(None, path.client + command, environment, timeout_s(work))
        sample = read_own(pair, work, server_reports=False)  # its line has both sides' CPU time
        if path.spans_namespaces:
            sample.foreign_cpu = None  # mpirun does not wait for what its agent started: whose time it was is not known
        return sample
