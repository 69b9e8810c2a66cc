"""The Markdown of a run: what it was, ratios first, then every figure, then how each row was set."""
from . import model
from .model import format_size
from .summary import MCP, is_bare, is_coalesced, is_peer

# What mcp aims at, by size: of the best peer, and of the best bare C.
_GOALS_PEER = {64: 2.0, 4 << 10: 2.0, 64 << 10: 1.5, 1 << 20: 1.5, 16 << 20: 1.1, 256 << 20: 1.0}
_GOAL_BARE = 0.85
_QUIET_SHARE = 0.05
_BANDWIDTH = 'bandwidth_bytes_per_s'
_ORDER = ('put_bw', 'send_bw', 'get_bw', 'put_lat', 'send_lat')


def number(value):
    """Three digits that count."""
    if value >= 100:
        return f'{value:.0f}'
    return f'{value:.3g}' if value >= 0.001 else f'{value:.1e}'


def spread(figure, scale=1.0):
    if figure is None:
        return '–'
    text = number(figure.median * scale)
    if figure.count > 1:
        text += f' ({number(figure.low * scale)}–{number(figure.high * scale)})'
    return text


def lines_of(header, rows):
    yield '| ' + ' | '.join(header) + ' |'
    yield '|' + ' --- |' * len(header)
    for row in rows:
        yield '| ' + ' | '.join(row) + ' |'
    yield ''


class Table:
    def __init__(self, run, summary):
        self._run, self._summary = run, summary

    def text(self):
        parts = list(self._heading())
        for path in self._summary.paths:
            parts += self._path(path)
        parts += self._notes()
        return '\n'.join(parts).rstrip() + '\n'

    def _sorted(self, rows):
        """Tests together; in each the order of the run's peers, mcp first."""
        peers = list(self._run['peers'])
        return sorted(rows, key=lambda row: (_ORDER.index(row.test), peers.index(row.peer), row.variant))

    def _heading(self):
        run, foreign = self._run, self._summary.foreign_cpu()
        yield f'# mcp and its peers over TCP, commit {run["commit"][:12]}{"-dirty" * run["commit"].endswith("-dirty")}'
        yield ''
        yield (f'{run["time"]}, {run["cpus"]} x {run["cpu_model"]}, {run["memory"]}, Linux {run["kernel"]}. '
               f'{run["rounds"]} interleaved rounds of about {run["seconds"]:g} s a measurement, order drawn from seed '
               f'{run["seed"]}; a process that is one spinning thread (UCX, libfabric, Open MPI, '
               f'spinning bare C) has a core of its own, others are not pinned; warm-up of a tenth before each. Cells: '
               f'median (smallest–greatest). '
               f'Made by `{run["made_by"]}`.')
        yield ''
        if foreign and foreign.median > _QUIET_SHARE:
            yield (f'**The machine was not quiet**: others used a median of {foreign.median:.0%} of it during '
                   f'measurements (up to {foreign.high:.0%}). These figures show that the comparison runs, not who '
                   'wins.')
            yield ''
        elif foreign:
            yield (f'Others used a median of {foreign.median:.0%} of the machine during measurements, at most '
                   f'{foreign.high:.0%} during one.')
            yield ''

    def _path(self, path):
        yield f'## {path}: {self._run["paths"][path]}'
        yield ''
        sizes = self._summary.sizes(False)
        yield from self._ratios(path, sizes)
        yield from self._figures(path, 'Throughput, GB/s', False, sizes, _BANDWIDTH, 1e-9)
        small = [size for size in sizes if size <= 4 << 10]
        yield from self._figures(path, 'Message rate, millions a second', False, small, 'operations_per_s', 1e-6)
        yield from self._latency(path)
        yield from self._figures(path, 'CPU seconds per GB, both sides', False, sizes, 'cpu_s_per_gb', 1.0)

    def _ratios(self, path, sizes):
        rows = [row for row in self._summary.rows(path, False) if row.peer == MCP]
        against = (('best peer', is_peer, _GOALS_PEER.get), ('best bare C', is_bare, lambda _: _GOAL_BARE),
                   ('bare C, coalesced', is_coalesced, lambda _: None))
        body = []
        for row in self._sorted(rows):
            for name, choose, goal in against:
                cells = [self._ratio(path, row, size, _BANDWIDTH, choose, None if row.test == 'get_bw' else goal(size))
                         for size in sizes]
                if any(cell != '–' for cell in cells):
                    body.append([f'{row.test}, {row.variant}', name, *cells])
        body += self._cost_ratios(path, rows, sizes)
        if not body:
            return
        yield '### mcp as a ratio; above 1 it is better, **bold** misses the goal'
        yield ''
        yield from lines_of(['mcp', 'of', *map(format_size, sizes)], body)

    def _cost_ratios(self, path, rows, sizes):
        for row in self._sorted(rows):
            cells = [self._ratio(path, row, size, 'cpu_s_per_gb', is_peer, 1.0 if size == 16 << 20 else None)
                     for size in sizes]
            if any(cell != '–' for cell in cells):
                yield [f'CPU per GB, {row.test}, {row.variant}', 'best peer', *cells]

    def _ratio(self, path, row, size, field, choose, goal):
        found = self._summary.compare(path, row, size, field, choose)
        if found is None:
            return '–'
        text = f'{spread(found.ratio)} {found.best.peer} {found.best.test}'
        return f'**{text}**' if goal and found.ratio.median < goal else text

    def _figures(self, path, title, latency, sizes, field, scale):
        body = []
        for row in self._sorted(self._summary.rows(path, latency)):
            cells = [spread(self._summary.figure(path, row, size, field), scale) for size in sizes]
            if any(cell != '–' for cell in cells):
                body.append([row.test, row.name, *cells])
        if body:
            yield f'### {title}'
            yield ''
            yield from lines_of(['test', 'who', *map(format_size, sizes)], body)

    def _latency(self, path):
        sizes = self._summary.sizes(True)
        rows = self._sorted(self._summary.rows(path, True))
        if not rows:
            return
        header, body = ['test', 'who'], []
        for size in sizes:
            header += [f'{format_size(size)} p50', f'{format_size(size)} p99', 'p50 of best peer']
        for row in rows:
            cells = [row.test, row.name]
            for size in sizes:
                cells += [spread(self._summary.figure(path, row, size, field)) for field in ('p50_us', 'p99_us')]
                cells.append(self._ratio(path, row, size, 'p50_us', is_peer, 1.0) if row.peer == MCP else '')
            body.append(cells)
        yield '### Latency, half a round trip, microseconds'
        yield ''
        yield from lines_of(header, body)

    def _notes(self):
        yield '## How each was set'
        yield ''
        for peer, about in self._run['peers'].items():
            yield f'- {peer} {about["version"]}: {about["fixed"]}.'
        yield ''
        yield from self._settings()
        for record in self._summary.skipped:
            yield f'- skipped: {record["peer"]}: {record["reason"]}'
        for reason, names in _grouped(self._summary.unfit).items():
            yield f'- not measured: {", ".join(names)}: {reason}'
        for reason, names in _grouped(self._summary.failures).items():
            yield f'- failed {len(names)} times: {names[0]}: {reason}'

    def _settings(self):
        path = self._summary.paths[0] if self._summary.paths else None
        sizes = self._summary.sizes(False)
        body = []
        for row in self._sorted(self._summary.rows(path, False)) if path else ():
            cells = []
            for size in sizes:
                chosen = self._summary.settings(path, row, size)
                cells.append('–' if not chosen else ', '.join(f'{name} {value}' for name, value in chosen.items()))
            if any(cell != '–' for cell in cells):
                body.append([row.test, row.name, *cells])
        if body:
            yield from lines_of(['test', 'who', *map(format_size, sizes)], body)


def _grouped(records):
    groups = {}
    for record in records:
        name = f'{record["peer"]} {record["variant"]} {record["test"]} {format_size(record["size_bytes"])}'
        groups.setdefault(record['reason' if 'reason' in record else 'error'], []).append(' '.join(name.split()))
    return groups


def make(run, summary):
    return Table(run, summary).text()
