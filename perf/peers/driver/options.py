"""The command line."""
import argparse

from . import model, paths

TUNE = {'rounds': 1, 'seconds': 0.2, 'sizes': ','.join(str(size) for size in model.SIZES)}
QUICK = {'rounds': 2, 'seconds': 0.15, 'sizes': '64,64K,1M,16M'}
FULL = {'rounds': 5, 'seconds': 0.4, 'sizes': ','.join(str(size) for size in model.SIZES)}


def _list(text):
    return [part.strip() for part in text.split(',') if part.strip()]


def _choices(known, what):
    def parse(text):
        chosen = _list(text)
        for one in chosen:
            if one not in known:
                raise argparse.ArgumentTypeError(f'unknown {what} {one!r}; known: {", ".join(known)}')
        return [one for one in known if one in chosen]
    return parse


def _sizes(text):
    try:
        sizes = [model.parse_size(part) for part in _list(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of sizes like 64,4K,1M') from None
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError('sizes start at 1 byte')
    return sorted(set(sizes))


def parse(arguments, peer_keys):
    parser = argparse.ArgumentParser(prog='perf/peers/run', description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.description = 'The same work, interleaved, on mcp and on what would be used instead.'
    parser.add_argument('--quick', action='store_true', help='a few minutes: ' + ', '.join(
        f'{name} {value}' for name, value in QUICK.items()))
    parser.add_argument('--rounds', type=int, help=f'interleaved rounds (default {FULL["rounds"]})')
    parser.add_argument('--seconds', type=float, help=f'length of a measurement (default {FULL["seconds"]})')
    parser.add_argument('--sizes', type=_sizes, help='message sizes of throughput tests (default 64 B to 256 MiB)')
    parser.add_argument('--peers', type=_choices(peer_keys, 'peer'), default=peer_keys,
                        help='comma-separated, of: ' + ', '.join(peer_keys))
    parser.add_argument('--paths', type=_choices(paths.PATHS, 'path'), default=list(paths.PATHS),
                        help='loopback, veth (default both)')
    parser.add_argument('--tests', type=_choices(model.TESTS, 'test'), default=list(model.TESTS),
                        help=','.join(model.TESTS))
    parser.add_argument('--congestion', default='cubic', metavar='NAME',
                        help='congestion control of every connection (default cubic)')
    parser.add_argument('--build', default='build/release', metavar='DIR', help='where mcp-perf was built')
    parser.add_argument('--programs', default='build/peers', metavar='DIR', help="where the peers' programs are built")
    parser.add_argument('--output', default='perf/results', metavar='DIR', help='where the results go')
    parser.add_argument('--seed', type=int, help='of the order within a round (default drawn, and shown)')
    parser.add_argument('--tune', action='store_true',
                        help='no comparison: find the best settings of each row and keep them in perf/peers/tuned.json')
    parser.add_argument('--table', metavar='FILE', help='no measurement: print the table of an earlier run')
    options = parser.parse_args(arguments)
    chosen = TUNE if options.tune else QUICK if options.quick else FULL
    options.rounds = options.rounds or chosen['rounds']
    options.seconds = options.seconds or chosen['seconds']
    options.sizes = options.sizes or _sizes(chosen['sizes'])
    if options.rounds < 1 or options.seconds <= 0:
        parser.error('--rounds and --seconds are above 0')
    options.latency_sizes = [size for size in options.sizes if size in model.LATENCY_SIZES] or options.sizes[:1]
    return options
