import unittest

from eager.table import crossing, make, ratio

KIB = 1 << 10


def cell(eager, bulk, auto):
    return {name: dict(enumerate(figures)) for name, figures in (('eager', eager), ('bulk', bulk), ('auto', auto))}


class Ratios(unittest.TestCase):
    def test_are_of_times_whatever_was_measured(self):
        figures = cell([10.0, 12.0], [20.0, 24.0], [10.0, 12.0])
        self.assertEqual(ratio('send_lat', figures, 'eager', 'bulk'), 0.5)
        self.assertEqual(ratio('send_bw', figures, 'eager', 'bulk'), 2.0)

    def test_are_taken_within_rounds(self):
        figures = cell([10.0, 100.0, 11.0], [20.0, 200.0, 20.0], [1.0, 1.0, 1.0])
        self.assertEqual(ratio('send_lat', figures, 'eager', 'bulk'), 0.5)


class Crossing(unittest.TestCase):
    def test_is_where_whole_messages_become_slower(self):
        cells = {size * KIB: cell([1.0], [bulk], [1.0]) for size, bulk in ((9, 2.0), (16, 1.2), (32, 0.9))}
        self.assertIn('between 16 and 32 KiB', crossing('send_lat', cells))

    def test_may_lie_outside(self):
        self.assertIn('beyond', crossing('send_lat', {9 * KIB: cell([1.0], [2.0], [1.0])}))
        self.assertIn('or below', crossing('send_lat', {9 * KIB: cell([2.0], [1.0], [1.0])}))


class Goal(unittest.TestCase):
    def test_is_the_better_of_the_two(self):
        cells = {('send_lat', 1, 9 * KIB): cell([10.0], [20.0], [10.5]),
                 ('send_bw', 1, 9 * KIB): cell([1e9], [2e9], [1.9e9])}
        text, met = make(cells, 16)
        self.assertTrue(met, text)
        cells['send_bw', 1, 9 * KIB] = cell([1e9], [2e9], [1.5e9])
        text, met = make(cells, 16)
        self.assertFalse(met)
        self.assertIn('missed', text)


if __name__ == '__main__':
    unittest.main()
