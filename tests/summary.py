#!/usr/bin/env python3
"""Sums test logs of meson: every case of a gtest program counts, so does every other test.

    tests/summary.py BUILD_DIRECTORY...    prints what failed, what was skipped and why, and the sum as the last line

A program that failed without a failed case (a crash, a leak found at exit, a timeout) counts as one failure.
"""
import json
import pathlib
import re
import sys

CASE = re.compile(r'\[ +(OK|FAILED|SKIPPED) +\] (\S+?)(?:, where .*)? \(\d+ ms\)$')
FINISHED = re.compile(r'\[=+\] \d+ tests? from .* ran\.')
GTEST_FAILED = 1  # the exit status of a gtest program that ran to its end


def cases(test):
    """Yields (name, 'OK' | 'FAILED' | 'SKIPPED', reason) for one record of testlog.json."""
    output = test.get('stdout', '').splitlines()
    found = [(number, case) for number, case in enumerate(map(CASE.search, output)) if case]
    for number, case in found:
        yield f'{test["name"]} {case[2]}', case[1], output[number - 1] if case[1] == 'SKIPPED' else ''
    result = {'OK': 'OK', 'EXPECTEDFAIL': 'OK', 'SKIP': 'SKIPPED'}.get(test['result'], 'FAILED')
    told = any(case[1] == 'FAILED' for _, case in found) and test.get('returncode') == GTEST_FAILED
    if not found or (result == 'FAILED' and not (told and any(map(FINISHED.search, output)))):
        how = f'{test["result"].lower()}, exit status {test.get("returncode")}'
        yield test['name'], result, how if result == 'FAILED' else output[-1] if output else ''


def main():
    count = {'OK': 0, 'FAILED': 0, 'SKIPPED': 0}
    for build in map(pathlib.Path, sys.argv[1:]):
        log = build / 'meson-logs/testlog.json'
        if not log.exists():
            print(f'failed: {build.name}: no test ran')
            count['FAILED'] += 1
            continue
        for line in log.read_text().splitlines():
            for name, result, reason in cases(json.loads(line)):
                count[result] += 1
                if result != 'OK':
                    print(f'{result.lower()}: {build.name}: {name}' + (f': {reason}' if reason else ''))
    print('{OK} passed, {FAILED} failed, {SKIPPED} skipped'.format(**count))
    return 1 if count['FAILED'] or not count['OK'] else 0


if __name__ == '__main__':
    sys.exit(main())
