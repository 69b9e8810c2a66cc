"""What was measured, as a table, held against the goals."""
import statistics

from .path import POLICIES

PHASE_GOAL = 1.10  # of the better fixed choice's time, in each phase
LEAVE_GOAL = 20    # transfers by bulk before a lossy path is streamed over


def transfers_until_left(protocols):
    """How many transfers it took until bulk was not chosen again; probes of it are no choice."""
    return protocols.rfind('b') + 1


class Table:
    def __init__(self, phases):
        self._phases = phases
        self._answers = {(phase.name, policy): [] for phase in phases for policy in POLICIES}
        self.lines, self.met = [], True

    def add(self, phase, policy, answer):
        self._answers[phase.name, policy].append(answer)

    def _hold(self, holds):
        self.met &= holds
        return '' if holds else ' **missed**'

    def _seconds(self, phase, policy):
        return [answer['seconds'] for answer in self._answers[phase.name, policy]]

    def _row(self, name, seconds, ratio, holds):
        cells = ' | '.join(f'{seconds[policy]:.3f} s' for policy in POLICIES)
        self.lines.append(f'| {name} | {cells} | {ratio:.2f}{self._hold(holds)} |')

    def write_phases(self):
        self.lines += ['| phase | ' + ' | '.join(POLICIES) + ' | model to the best fixed one |',
                       '| --- ' * (len(POLICIES) + 2) + '|']
        for phase in self._phases:
            medians = {policy: statistics.median(self._seconds(phase, policy)) for policy in POLICIES}
            ratio = medians['model'] / min(medians['bulk'], medians['stream'])
            self._row(phase.name, medians, ratio, ratio <= PHASE_GOAL)
        sums = {policy: sum(sum(self._seconds(phase, policy)) for phase in self._phases) for policy in POLICIES}
        ratio = sums['model'] / min(sums['bulk'], sums['stream'])
        self._row('all rounds', sums, ratio, ratio <= 1)

    def write_losses(self):
        """In the first round nothing is known of the losses to come."""
        for phase in (phase for phase in self._phases if phase.lossy):
            left = [transfers_until_left(answer['protocols']) for answer in self._answers[phase.name, 'model']]
            goodput = {policy: phase.messages * phase.size_bytes / statistics.median(self._seconds(phase, policy)) / 1e6
                       for policy in POLICIES}
            self.lines += ['', f'{phase.name}: model streams after {", ".join(map(str, left))} transfers (a number a '
                               f'round; goal {LEAVE_GOAL}){self._hold(max(left) <= LEAVE_GOAL)}; its goodput is '
                               f'{goodput["model"]:.2f} MB/s, that of bulk {goodput["bulk"]:.2f}'
                               f'{self._hold(goodput["model"] > goodput["bulk"])}']

    def write_first_part(self, first_part, shares):
        share = statistics.median(shares)
        self.lines += ['', f'First part of a streamed message of {first_part.size_bytes >> 20} MiB at {first_part.text}: '
                           f'after {share:.3f} of its time (median of {len(shares)}; goal {first_part.goal})'
                           f'{self._hold(share <= first_part.goal)}']
