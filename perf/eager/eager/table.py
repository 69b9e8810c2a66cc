"""What was measured, as a table, held against the goal."""
import statistics

LATENCY, BANDWIDTH = 'send_lat', 'send_bw'
TESTS = (LATENCY, BANDWIDTH)
EAGER, ANNOUNCED, CHOSEN = 'eager', 'bulk', 'auto'
PROTOCOLS = (EAGER, ANNOUNCED, CHOSEN)
GOAL = 1.10  # of the time of the better of the two
MISSED = 'missed'


def _times(test, figures):
    """Of one message: bandwidth is turned over, so that less is better in every cell."""
    return {number: figure if test == LATENCY else 1 / figure for number, figure in figures.items()}


def ratio(test, cell, protocol, reference):
    """Of the times, within each round: the median."""
    ours, theirs = _times(test, cell[protocol]), _times(test, cell[reference])
    return statistics.median(ours[number] / theirs[number] for number in sorted(set(ours) & set(theirs)))


def _shown(test, figures):
    value = statistics.median(figures.values())
    return f'{value:.1f} us' if test == LATENCY else f'{value / 1e9:.2f} GB/s'


def crossing(test, cells):
    """The sizes up to which whole messages are no slower, and from which on they are; `cells` by size."""
    slower = [size for size, cell in sorted(cells.items()) if ratio(test, cell, EAGER, ANNOUNCED) > 1]
    sizes = sorted(cells)
    if not slower:
        return f'whole is faster up to {sizes[-1] >> 10} KiB and beyond'
    if slower[0] == sizes[0]:
        return f'announced is faster from {sizes[0] >> 10} KiB on, or below'
    before = max(size for size in sizes if size < slower[0])
    return f'they cross between {before >> 10} and {slower[0] >> 10} KiB'


def make(cells, outstanding):
    """`cells` is {(test, rails, size): {protocol: {round: figure}}}. Returns Markdown, and whether the goal is met."""
    lines, met = [], True
    for test in TESTS:
        for rails in sorted({rails for name, rails, _ in cells if name == test}):
            mine = {size: cell for (name, count, size), cell in cells.items() if (name, count) == (test, rails)}
            what = 'one at a time, half a round trip' if test == LATENCY else f'{outstanding} at a time'
            lines += [f'{test}, {rails} {"rail" if rails == 1 else "rails"} ({what}): {crossing(test, mine)}', '',
                      '| size | whole | announced | chosen | whole / announced, time | chosen / the better |',
                      '| --- ' * 6 + '|']
            for size, cell in sorted(mine.items()):
                pays = ratio(test, cell, EAGER, ANNOUNCED)
                best = EAGER if pays <= 1 else ANNOUNCED
                chosen = ratio(test, cell, CHOSEN, best)
                met &= chosen <= GOAL
                shown = ' | '.join(_shown(test, cell[protocol]) for protocol in (EAGER, ANNOUNCED, CHOSEN))
                lines.append(f'| {size >> 10} KiB | {shown} | {pays:.2f} | {chosen:.2f}'
                             f'{"" if chosen <= GOAL else f" **{MISSED}**"} |')
            lines.append('')
    return '\n'.join(lines).rstrip(), met
