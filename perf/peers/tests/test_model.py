import unittest

from driver import model


class SizeTest(unittest.TestCase):
    def test_parses_suffixes(self):
        for text, size in (('64', 64), ('4K', 4096), ('64k', 65536), ('1 MiB', 1 << 20), ('2G', 2 << 30), ('64B', 64)):
            self.assertEqual(model.parse_size(text), size, text)

    def test_refuses_what_is_no_size(self):
        for text in ('', 'K', '1.5M', 'x'):
            with self.assertRaises(ValueError):
                model.parse_size(text)

    def test_formats_with_the_largest_unit_that_divides(self):
        for size, text in ((64, '64 B'), (4096, '4 KiB'), (1500, '1500 B'), (256 << 20, '256 MiB'), (1 << 30, '1 GiB')):
            self.assertEqual(model.format_size(size), text)


class SampleTest(unittest.TestCase):
    def test_bandwidth_and_cost(self):
        sample = model.Sample(seconds=0.5, operations=1000, size=1 << 20, cpu_s=0.8)
        self.assertAlmostEqual(sample.bandwidth, 2000 * (1 << 20))
        self.assertAlmostEqual(sample.cpu_s_per_gb, 0.8 / 1.048576)

    def test_cost_counts_the_operations_it_was_measured_over(self):
        sample = model.Sample(seconds=0.5, operations=1000, size=10 ** 6, cpu_s=1.1, cpu_operations=1100)
        self.assertAlmostEqual(sample.cpu_s_per_gb, 1.0)

    def test_no_cost_without_cpu_time(self):
        self.assertIsNone(model.Sample(seconds=1, operations=1, size=1).cpu_s_per_gb)


if __name__ == '__main__':
    unittest.main()
