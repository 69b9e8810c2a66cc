"""What the process tests share: a runner that prints results as GoogleTest does, so that tests/summary.py counts every
case and shows why one was skipped; and processes that end with the test, whatever happens."""
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

PR_SET_PDEATHSIG = 1
RUN_TIMEOUT_S = 120


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Processes(unittest.TestCase):
    """Starts programs, and ends what is left of them."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def start(self, command, **options):
        options = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True, **options}
        process = subprocess.Popen(command, preexec_fn=_die_with_parent, **options)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr, process.stdin):
            if stream:
                stream.close()

    def run_to_end(self, command, timeout=RUN_TIMEOUT_S, **options):
        process = self.start(command, **options)
        out, error = process.communicate(timeout=timeout)
        return process.returncode, out, error

    def read_until(self, stream, wanted):
        """Reads lines until one holds `wanted`; the end of the stream is a failure."""
        seen = []
        for line in iter(stream.readline, ''):
            seen.append(line)
            if wanted in line:
                return line
        self.fail(f'no "{wanted}" in {"".join(seen)!r}')


def main(case, wanted=None):
    """Runs the methods test_* of a class, or those `wanted` (else named on the command line). Returns the exit status."""
    wanted = sys.argv[2:] if wanted is None else wanted
    names = [name for name in unittest.defaultTestLoader.getTestCaseNames(case) if not wanted or name in wanted]
    failed = 0
    for name in names:
        shown = f'{case.__name__}.{name}'
        print(f'[ RUN      ] {shown}', flush=True)
        started = time.monotonic()
        result = unittest.TestResult()
        try:
            case(name).run(result)
        except BaseException:  # an interrupt ends the run, but not without saying where
            traceback.print_exc()
            return 2
        for _, text in result.errors + result.failures:
            print(text)
        for _, reason in result.skipped:
            print(reason)
        word = 'SKIPPED' if result.skipped else '     OK' if result.wasSuccessful() else 'FAILED'
        failed += word == 'FAILED'
        milliseconds = int((time.monotonic() - started) * 1000)
        print(f'[ {word:>8} ] {shown} ({milliseconds} ms)', flush=True)
    print(f'[==========] {len(names)} tests from 1 test suite ran.')
    return 1 if failed else 0
