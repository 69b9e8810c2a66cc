"""From the command line to the files in perf/results."""
import contextlib
import pathlib
import random
import shlex
import signal
import sys
import tempfile

from . import adapters, build, options as command_line, paths, results, runner, summary, table, tuning
from .adapters.base import Context
from .pace import Pace


def say(text):
    print(f'peers: {text}', file=sys.stderr, flush=True)


def _present(peers, chosen, sink):
    """The chosen peers that can run here; the others are skipped by name."""
    present = []
    for peer in peers:
        if peer.key not in chosen:
            continue
        reason = peer.missing()
        if reason:
            say(f'skipping {peer.name}: {reason}')
            sink.append((peer.name, reason))
        else:
            present.append(peer)
    return present


def _describe(options, seed, ways, peers, arguments):
    return {**results.environment(), 'rounds': options.rounds, 'seconds': options.seconds, 'seed': seed,
            'congestion_control': options.congestion, 'pinning': 'single spinning threads',
            'made_by': ' '.join(['perf/peers/run', *map(shlex.quote, arguments)]),
            'paths': {way.name: way.description for way in ways},
            'peers': {peer.name: {'version': peer.version(), 'fixed': peer.fixed} for peer in peers}}


def _compare(options, arguments, plan, skipped, pace):
    commit = results.commit(build.ROOT)
    folder = pathlib.Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f'peers-{commit[:12]}{"-dirty" if commit.endswith("-dirty") else ""}.jsonl'
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    settings = tuning.Settings()
    say(f'seed {seed}; results go to {file}')
    with open(file, 'w') as sink:
        sheet = results.Results(sink, commit)
        sheet.begin(**_describe(options, seed, plan.paths, plan.peers, arguments))
        for name, reason in skipped:
            sheet.skipped(name, reason)
        for row, size, reason in plan.unfit():
            sheet.unfit(row, size, reason)
        try:
            runner.verify_mcp(plan, Pace(0.1), settings, sheet, say)
            runner.run(plan, options.rounds, pace, settings, seed, sheet, say)
        finally:
            text = table.make(*_load(file))
            file.with_suffix('.md').write_text(text)
    print(text)
    return 1 if any(record['kind'] == 'failure' for record in sheet.samples) else 0


def _load(file):
    run, records = results.read(pathlib.Path(file).read_text().splitlines())
    return run, summary.Summary(records)


def _measure(options, arguments, peers, skipped):
    with contextlib.ExitStack() as stack:
        ways, absent = paths.make_paths(options.paths, options.congestion)
        for way in ways:
            stack.callback(way.close)
        for name, reason in absent:
            say(f'skipping the {name} path: {reason}')
        plan = runner.Plan(peers, ways, options.tests, options.sizes, options.latency_sizes)
        pace = Pace(options.seconds)
        if options.tune:
            tuning.tune(plan, pace, tuning.Settings(), say)
            return 0
        return _compare(options, arguments, plan, skipped + absent, pace)


def main(arguments):
    # Killed politely, it cleans up as on Ctrl-C, which a shell's background jobs would else ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    with tempfile.TemporaryDirectory(prefix='mcp-peers-') as scratch:
        keys = [peer.key for peer in adapters.all_peers(None)]
        options = command_line.parse(arguments, keys)
        if options.table:
            print(table.make(*_load(options.table)))
            return 0
        context = Context(str(pathlib.Path(options.programs).resolve()),
                          str(pathlib.Path(options.build).resolve() / 'tools/mcp_perf/mcp-perf'), scratch)
        skipped = []
        peers = _present(adapters.all_peers(context), options.peers, skipped)
        if not peers:
            say('no peer can run here')
            return 1
        try:
            return _measure(options, arguments, peers, skipped)
        except paths.PathError as error:
            say(str(error))
            return 1
        except KeyboardInterrupt:
            say('interrupted')
            return 130
