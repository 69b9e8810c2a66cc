#!/usr/bin/env python3
"""Sums test logs of meson: every case of a gtest program counts, so does every other test.

    tests/summary.py BUILD_DIRECTORY...    prints what was skipped, by reason, what failed and what it said, and the sum
                                           as the last line

A program that failed without a failed case (a crash, a leak found at exit, a timeout) counts as one failure.
"""
import collections
import json
import pathlib
import re
import sys

CASE = re.compile(r'\[ +(OK|FAILED|SKIPPED) +\] (\S+?)(?:, where .*)? \(\d+ ms\)$')
FINISHED = re.compile(r'\[=+\] \d+ tests? from .* ran\.')
BEGUN = re.compile(r'\[ RUN +\] ')
REPORT = re.compile(r'(WARNING|ERROR): \w+Sanitizer|runtime error: ')
GTEST_FAILED = 1  # the exit status of a gtest program that ran to its end
TOLD_MAX = 40     # lines of what a failure said


def said(lines):
    """The beginning of the first sanitizer's report, else the end."""
    for number, line in enumerate(lines):
        if REPORT.search(line):
            return lines[number:number + TOLD_MAX]
    return lines[-TOLD_MAX:]


def said_by_case(lines, end):
    """What a gtest case that ends in line `end` has printed."""
    begin = end
    while begin > 0 and not BEGUN.match(lines[begin - 1]):
        begin -= 1
    return said(lines[begin:end])


def said_by_program(output, errors):
    """Where it was, and what it said of that."""
    begun = [line for line in output if BEGUN.match(line)]
    return begun[-1:] + said(output + errors)


def cases(test):
    """Yields (name, 'OK' | 'FAILED' | 'SKIPPED', reason, what it said) for one record of testlog.json."""
    output, errors = (test.get(stream, '').splitlines() for stream in ('stdout', 'stderr'))
    found = [(number, case) for number, case in enumerate(map(CASE.search, output)) if case]
    for number, case in found:
        reason = output[number - 1] if case[1] == 'SKIPPED' else ''
        yield f'{test["name"]} {case[2]}', case[1], reason, said_by_case(output, number) if case[1] == 'FAILED' else []
    result = {'OK': 'OK', 'EXPECTEDFAIL': 'OK', 'SKIP': 'SKIPPED'}.get(test['result'], 'FAILED')
    told = any(case[1] == 'FAILED' for _, case in found) and test.get('returncode') == GTEST_FAILED
    if not found or (result == 'FAILED' and not (told and any(map(FINISHED.search, output)))):
        how = f'{test["result"].lower()}, exit status {test.get("returncode")}'
        reason = how if result == 'FAILED' else output[-1] if output else ''
        yield test['name'], result, reason, said_by_program(output, errors) if result == 'FAILED' else []


def main():
    count = {'OK': 0, 'FAILED': 0, 'SKIPPED': 0}
    skipped = collections.Counter()
    failed = []
    for build in map(pathlib.Path, sys.argv[1:]):
        log = build / 'meson-logs/testlog.json'
        if not log.exists():
            failed.append((f'{build.name}: no test ran', []))
            count['FAILED'] += 1
            continue
        for line in log.read_text().splitlines():
            for name, result, reason, told in cases(json.loads(line)):
                count[result] += 1
                if result == 'SKIPPED':
                    skipped[build.name, reason or name] += 1
                elif result == 'FAILED':
                    failed.append((f'{build.name}: {name}' + (f': {reason}' if reason else ''), told))
    for (build, reason), number in sorted(skipped.items()):
        print(f'skipped: {build}: {number}: {reason}')
    for name, told in failed:
        print(f'failed: {name}', *(f'    {line}' for line in told), sep='\n')
    if len(failed) > 1:
        print(*(f'failed: {name}' for name, _ in failed), sep='\n')
    print('{OK} passed, {FAILED} failed, {SKIPPED} skipped'.format(**count))
    return 1 if count['FAILED'] or not count['OK'] else 0


if __name__ == '__main__':
    sys.exit(main())
