"""From samples to the table: medians over the rounds, and ratios taken within each round."""
import statistics

from .tools import LATENCY

# put_bw and get_bw: at least that share of perftest's bandwidth. put_lat: at most that multiple of its latency.
GOALS = {('put_bw', 16 << 10): 0.90, ('put_bw', 64 << 10): 0.95, ('put_bw', 1 << 20): 0.95,
         ('get_bw', 16 << 10): 0.90, ('get_bw', 64 << 10): 0.95, ('get_bw', 1 << 20): 0.95, ('put_lat', 8): 1.10}
MISSED = 'missed'


def format_size(size):
    for unit, name in ((1 << 20, 'MiB'), (1 << 10, 'KiB')):
        if size >= unit and size % unit == 0:
            return f'{size // unit} {name}'
    return f'{size} B'


def ratios(samples, tool, reference):
    """{round: figure} of both give the rounds that have both."""
    return [samples[tool][number] / samples[reference][number]
            for number in sorted(set(samples.get(tool, {})) & set(samples.get(reference, {})))]


def verdict(test, size, ratio):
    goal = GOALS.get((test, size))
    if goal is None:
        return ''
    met = ratio <= goal if test == LATENCY else ratio >= goal
    sign = '<=' if test == LATENCY else '>='
    return f'{sign} {goal:.2f} {"met" if met else MISSED}'


def _cell(test, figures):
    if not figures:
        return '-'
    scale = 1 if test == LATENCY else 1e6
    values = [figure / scale for figure in figures]
    return f'{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]'


def make(cells, tools):
    """`cells` is {(test, size): {tool: {round: figure}}}, in the order to show. Returns the table as Markdown."""
    first, reference = tools[0], tools[1]
    lines = ['| test | size | unit | ' + ' | '.join(tools) + f' | {first} / {reference} | goal |',
             '| --- ' * (len(tools) + 5) + '|']
    for (test, size), samples in cells.items():
        unit = 'us' if test == LATENCY else 'MB/s'
        shown = [_cell(test, list(samples.get(tool, {}).values())) for tool in tools]
        both = ratios(samples, first, reference)
        ratio = statistics.median(both) if both else None
        last = [f'{ratio:.3f}', verdict(test, size, ratio)] if both else ['-', '']
        lines.append('| ' + ' | '.join([test, format_size(size), unit, *shown, *last]) + ' |')
    return '\n'.join(lines)
