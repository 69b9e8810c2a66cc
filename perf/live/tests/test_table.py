import unittest

from live.path import POLICIES, FirstPart, Phase, joined
from live.table import Table, transfers_until_left

PHASES = (Phase('clean', None, 4, 1 << 20), Phase('lossy', None, 40, 1 << 20, lossy=True))


def answers(seconds, protocols='ssss'):
    return {'seconds': seconds, 'protocols': protocols}


class UntilLeft(unittest.TestCase):
    def test_counts_what_came_before_streaming_began(self):
        self.assertEqual(transfers_until_left('s' * 40), 0)
        self.assertEqual(transfers_until_left('b' * 12 + 's' * 28), 12)

    def test_probes_of_bulk_are_no_return_to_it(self):
        self.assertEqual(transfers_until_left('bbb' + 'ssB' * 10 + 's' * 7), 3)
        self.assertEqual(transfers_until_left('bbb' + 's' * 20 + 'b' + 's' * 16), 24)

    def test_a_probe_of_stream_is_no_leaving(self):
        self.assertEqual(transfers_until_left('bSbbbbbbbbbbbbbbbbbbbs' + 's' * 18), 21)

    def test_what_never_leaves_counts_whole(self):
        self.assertEqual(transfers_until_left('b' * 40), 40)


class Turns(unittest.TestCase):
    def test_share_all_messages(self):
        self.assertEqual(Phase('', None, 100, 1).turns(), [10] * 10)
        self.assertEqual(Phase('', None, 23, 1).turns(), [3, 3, 3] + [2] * 7)
        self.assertEqual(Phase('', None, 4, 1).turns(), [1] * 4)

    def test_are_joined_in_order(self):
        one = {'seconds': 1.5, 'first_part_share': 0.5, 'bulk': 3, 'stream': 0, 'switches': 0, 'probes': 0,
               'protocols': 'bbb', 'times_us': [1, 2, 3]}
        other = {'seconds': 0.25, 'first_part_share': 0.1, 'bulk': 0, 'stream': 1, 'switches': 1, 'probes': 0,
                 'protocols': 's', 'times_us': [4]}
        self.assertEqual(joined([one, other]), {
            'seconds': 1.75, 'first_part_share': 0.4, 'bulk': 3, 'stream': 1, 'switches': 1, 'probes': 0,
            'protocols': 'bbbs', 'times_us': [1, 2, 3, 4]})


class Goals(unittest.TestCase):
    def table(self, model, lossy_model, protocols):
        table = Table(PHASES)
        for policy in POLICIES:
            table.add(PHASES[0], policy, answers(model if policy == 'model' else 1.0))
            lossy = {'model': lossy_model, 'bulk': 3.0}.get(policy, 2.0)
            table.add(PHASES[1], policy, answers(lossy, protocols))
        table.write_phases()
        table.write_losses()
        table.write_first_part(FirstPart(None, '1 Gb/s', 1 << 26), [0.05, 0.3, 0.04])
        return table

    def test_all_met(self):
        table = self.table(0.9, 2.1, 'b' * 20 + 's' * 20)
        self.assertTrue(table.met, table.lines)
        self.assertNotIn('missed', '\n'.join(table.lines))

    def test_each_goal_can_be_missed(self):
        for model, lossy_model, protocols in ((1.11, 1.0, 's' * 40), (0.9, 2.2, 's' * 40), (1.05, 2.0, 's' * 40),
                                              (0.9, 2.0, 'b' * 21 + 's' * 19), (0.1, 3.0, 's' * 40)):
            with self.subTest(model=model, lossy_model=lossy_model):
                table = self.table(model, lossy_model, protocols)
                self.assertFalse(table.met)
                self.assertIn('missed', '\n'.join(table.lines))


if __name__ == '__main__':
    unittest.main()
