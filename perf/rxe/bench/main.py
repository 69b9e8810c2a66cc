"""From the command line to the table and the lines of perf/results."""
import argparse
import json
import pathlib
import random
import signal
import sys

from driver import results
from driver.model import MeasurementError
from rig import choose, kernel
from rig.machine import RigError

from . import table, tools

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = 'mcp-rxe/1'
SIZES = (16 << 10, 64 << 10, 1 << 20)
LATENCY_SIZES = (8,)
BYTES = 32 << 20  # of one measurement of bandwidth: about a second under emulation
OPERATIONS_MIN, OPERATIONS_MAX = 64, 4000
ROUND_TRIPS = 5000


def say(text):
    print(f'rxe: {text}', file=sys.stderr, flush=True)


def _work(options):
    works = []
    for test in options.tests:
        for size in LATENCY_SIZES if test == tools.LATENCY else SIZES:
            operations = (ROUND_TRIPS if test == tools.LATENCY
                          else min(OPERATIONS_MAX, max(OPERATIONS_MIN, BYTES // size)))
            works.append(tools.Work(test, size, operations, options.outstanding))
    return works


class Run:
    """Measures, and writes each sample as it comes."""

    def __init__(self, machine, present, works, sink, commit):
        self._machine, self._present, self._works = machine, present, works
        self._sink, self._commit = sink, commit
        self.cells = {(work.test, work.size): {} for work in works}
        self.failures = 0

    def write(self, **record):
        self._sink.write(json.dumps({'schema': SCHEMA, 'commit': self._commit, **record}) + '\n')
        self._sink.flush()

    def round(self, number, order):
        for work in self._works:
            for tool in order.sample(self._present, len(self._present)):
                self._measure(number, tool, work)

    def _measure(self, number, tool, work):
        key = {'tool': tool.name, 'test': work.test, 'size_bytes': work.size, 'round': number}
        try:
            figure = tool.measure(self._machine, work)
        except (tools.ToolError, MeasurementError, RigError, ValueError) as error:
            self.failures += 1
            say(f'{tool.name} {work.test} of {table.format_size(work.size)}: {error}')
            self.write(kind='failure', **key, error=str(error))
            return
        self.cells[work.test, work.size].setdefault(tool.name, {})[number] = figure
        unit = 'p50_us' if work.test == tools.LATENCY else 'bandwidth_bytes_per_s'
        self.write(kind='sample', **key, operations=work.operations, outstanding=work.outstanding, **{unit: figure})


def _parse(arguments):
    known = (tools.WRITE, tools.LATENCY, tools.READ)
    parser = argparse.ArgumentParser(prog='./dev bench rxe', description=__doc__)
    parser.add_argument('--kernel', choices=kernel.KERNELS, default=kernel.KERNELS[0])
    parser.add_argument('--on', choices=(choose.ANY, choose.GUEST), default=choose.ANY)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--outstanding', type=int, default=16, help='operations in flight, of every tool')
    parser.add_argument('--tests', nargs='+', choices=known, default=known, metavar='TEST', help=' '.join(known))
    parser.add_argument('--transport', default='verbs', help='of mcp')
    parser.add_argument('--mcp-perf', default=str(ROOT / 'build/release/tools/mcp_perf/mcp-perf'))
    parser.add_argument('--output', type=pathlib.Path, default=ROOT / 'perf/results')
    parser.add_argument('--seed', type=int, help='of the order within a round (default drawn, and shown)')
    return parser.parse_args(arguments)


def _bench(options, arguments):
    every = [tools.Mcp(options.mcp_perf, options.transport), tools.Perftest(), tools.Ucx()]
    absent = {tool.name: tool.missing() for tool in every if tool.missing()}
    for name, reason in absent.items():
        say(f'skipping {name}: {reason}')
    present = [tool for tool in every if tool.name not in absent]
    commit = results.commit(ROOT)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f'rxe-{commit[:12]}{"-dirty" if commit.endswith("-dirty") else ""}.jsonl'
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    with choose.one(options.kernel, options.on) as machine, open(file, 'w') as sink:
        say(f'{machine.name}; seed {seed}; samples go to {file}')
        run = Run(machine, present, _work(options), sink, commit)
        run.write(kind='run', **results.environment(), machine=machine.name, guest_kernel=machine.kernel,
                  emulated=machine.name.startswith('guest'), rounds=options.rounds, seed=seed, skipped=absent,
                  made_by=' '.join(['perf/rxe/run', *arguments]))
        order = random.Random(seed)
        for number in range(1, options.rounds + 1):
            say(f'round {number} of {options.rounds}')
            run.round(number, order)
    text = table.make(run.cells, [tool.name for tool in every])
    print(f'{machine.name} (kernel {machine.kernel}), mcp over {options.transport}, {options.outstanding} in flight; median '
          f'[least, greatest] of {options.rounds} rounds; the ratio is the median of those within a round\n\n{text}')
    return 1 if run.failures or table.MISSED in text else 0


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _bench(_parse(arguments), arguments)
    except RigError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
