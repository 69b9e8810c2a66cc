"""From the command line to the table and the lines of perf/results."""
import argparse
import contextlib
import json
import pathlib
import random
import signal
import sys

from driver import results
from rig import choose, kernel
from rig.machine import RigError

from . import paths, table

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = 'mcp-eager/1'
KIB = 1 << 10
SIZES = (9 * KIB, 12 * KIB, 16 * KIB, 24 * KIB, 32 * KIB, 48 * KIB, 64 * KIB)
SKIPPED = 77


def say(text):
    print(f'eager: {text}', file=sys.stderr, flush=True)


def _parse(arguments):
    parser = argparse.ArgumentParser(prog='./dev bench eager', description=__doc__)
    parser.add_argument('--far', action='store_true',
                        help='between two QEMU guests with a delay between them; otherwise over 127.0.0.1')
    parser.add_argument('--kernel', choices=kernel.KERNELS, default=kernel.KERNELS[0], help='of the guests')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=0.2, help='of each measurement')
    parser.add_argument('--rails', type=int, nargs='+', default=(1, 2))
    parser.add_argument('--outstanding', type=int, default=16, help='messages in flight, of send_bw')
    parser.add_argument('--mcp-perf', default=str(ROOT / 'build/release/tools/mcp_perf/mcp-perf'))
    parser.add_argument('--output', type=pathlib.Path, default=ROOT / 'perf/results')
    return parser.parse_args(arguments)


def _command(options, test, rails, protocol):
    return ['--transport', 'tcp', '-t', test, '-s', ','.join(map(str, SIZES)), '-D', options.seconds, '-o',
            options.outstanding, '--rails', rails, '--protocol', protocol, '--json', '-', '--quiet']


def _figure(test, result):
    return result['latency_us']['p50'] if test == table.LATENCY else result['bandwidth_bytes_per_s']


def _measure(path, options, write):
    """{(test, rails, size): {protocol: {round: figure}}}; the protocols take turns within each round."""
    cells = {}
    for number in range(1, options.rounds + 1):
        say(f'round {number} of {options.rounds}')
        for test in table.TESTS:
            for rails in options.rails:
                for protocol in random.sample(table.PROTOCOLS, len(table.PROTOCOLS)):
                    document = path.measure(_command(options, test, rails, protocol))
                    for result in document['results']:
                        figure = _figure(test, result)
                        write(kind='sample', round=number, test=test, rails=rails, protocol=protocol,
                              size_bytes=result['size_bytes'], figure=figure)
                        cell = cells.setdefault((test, rails, result['size_bytes']), {})
                        cell.setdefault(protocol, {})[number] = figure
    return cells


def _bench(options, arguments):
    commit = results.commit(ROOT)
    options.output.mkdir(parents=True, exist_ok=True)
    short = commit[:12] + ('-dirty' if commit.endswith('-dirty') else '')
    with contextlib.closing(paths.Far(options) if options.far else paths.Here(options)) as path:
        name = options.output / f'{path.NAME}-{short}'
        with open(f'{name}.jsonl', 'w') as sink:
            def write(**record):
                sink.write(json.dumps({'schema': SCHEMA, 'commit': commit, **record}) + '\n')
                sink.flush()
            write(kind='run', **results.environment(), **path.describe(), rounds=options.rounds,
                  seconds=options.seconds, outstanding=options.outstanding,
                  made_by=' '.join(['perf/eager/run', *arguments]))
            cells = _measure(path, options, write)
    text, met = table.make(cells, options.outstanding)
    pathlib.Path(f'{name}.md').write_text(text + '\n')
    print(text)
    return 0 if met else 1


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _bench(_parse(arguments), arguments)
    except choose.NoMachine as error:
        say(f'nothing to run on: {error}')
        return SKIPPED
    except (paths.Failed, RigError) as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        return 130
