#!/usr/bin/env python3
"""Holds the tree against layers.txt, the cheap rules of the house style, and clang-format.

    tools/lint/lint.py                      report every violation as file:line: rule
    tools/lint/lint.py --format [PATH...]   let clang-format rewrite the sources, or those below PATH only
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ('include', 'lib', 'transports', 'tools', 'tests', 'perf')
SOURCES = ('.cc', '.h', '.c', '.cu')
LINES_MAX = 500
# Quoted includes that are not ours. <angle brackets> are the system's.
EXTERNAL = ('absl/', 'gtest/', 'gmock/', 'benchmark/', 'CLI/', 'nlohmann/', 'hwy/')
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def files(*suffixes):
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob('*')):
            if path.is_file() and path.suffix in suffixes:
                yield path.relative_to(ROOT).as_posix()


def under(path, folder):
    return path == folder or path.startswith(folder + '/')


def read_layers():
    layers = {}
    for line in (ROOT / 'tools/lint/layers.txt').read_text().splitlines():
        line = line.split('#')[0].strip()
        if line:
            folder, allowed = line.split(':')
            layers[folder.strip()] = allowed.split()
    return layers


def check_include(path, bracket, target, layers):
    """Returns what is wrong with one #include, or None."""
    layer = max((folder for folder in layers if under(path, folder)), key=len, default=None)
    if layer is None:
        return 'no rule of tools/lint/layers.txt covers this file'
    if bracket == '<':
        foreign = layer == 'include/mcp' and re.search(r'[./]', target)
        return f'<{target}>: a public header includes the standard library, Abseil and mcp/ only' if foreign else None
    if target.startswith(EXTERNAL):
        foreign = layer == 'include/mcp' and not target.startswith('absl/')
        return f'"{target}": a public header shows no library but Abseil' if foreign else None
    file = 'include/' + target if target.startswith('mcp/') else target
    if not (ROOT / file).is_file():
        return f'"{target}": no such file; includes are written from the root of the tree'
    allowed = layers[layer] + [layer] + (['tests/support'] if path.endswith('_test.cc') else [])
    if not any(under(file, folder) for folder in allowed):
        return f'"{target}": {layer} may include {" ".join(layers[layer]) or "nothing of the tree"} (layers.txt)'
    return None


# (what, where it holds, pattern): a line of code that matches is a violation.
PATTERNS = [
    ('the environment is read in lib/base/config only',
     lambda path: not path.startswith(('lib/base/config', 'tests/', 'perf/')), re.compile(r'\bgetenv\s*\(')),
    ('tests wait for events or use virtual time, they never sleep',
     lambda path: path.startswith('tests/') or path.endswith('_test.cc'),
     re.compile(r'\b(sleep_for|sleep_until|usleep|nanosleep|SleepFor|sleep)\s*\(')),
    ('std::mutex instead of absl::Mutex: Debian\'s Abseil is not instrumented, so TSan cannot see its locks',
     lambda path: path.startswith(('lib/', 'transports/', 'tests/')) and path != 'tests/hot_path/interpose.cc',
     re.compile(r'\babsl::(Mutex|CondVar|Notification)\b')),
]


def check_source(path, layers):
    lines = (ROOT / path).read_text().splitlines()
    if len(lines) > LINES_MAX:
        yield LINES_MAX + 1, f'{len(lines)} lines: a file reads in one sitting, {LINES_MAX} at most'
    if path.endswith('.h'):
        guard = re.sub(r'[./]', '_', path.removeprefix('include/')).upper() + '_'
        guard = guard if guard.startswith('MCP_') else 'MCP_' + guard
        if f'#ifndef {guard}' not in lines or f'#define {guard}' not in lines:
            yield 1, f'header guard: expected {guard}'
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            wrong = check_include(path, include[1], include[2], layers)
            if wrong:
                yield number, wrong
        code = line.split('//')[0]
        for what, holds, pattern in PATTERNS:
            if holds(path) and pattern.search(code):
                yield number, what


def clang_format(arguments, sources):
    """Returns the first place of each source that is not as clang-format writes it."""
    program = shutil.which('clang-format-14')  # other versions format differently
    if not program:
        sys.exit('lint: clang-format-14 is not installed: ./dev setup')
    if not sources:
        return []
    done = subprocess.run([program, *arguments, *sources], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    places = re.findall(r'^(\S+?):(\d+):\d+: error', done.stderr, re.MULTILINE)
    if done.returncode and not places:
        sys.exit(done.stderr)
    first = {path: line for path, line in reversed(places)}
    return [f'{path}:{line}: not formatted: ./dev format' for path, line in sorted(first.items())]


def main():
    sources = list(files(*SOURCES))
    if sys.argv[1:2] == ['--format']:
        paths = [path.rstrip('/') for path in sys.argv[2:]] or FOLDERS
        clang_format(['-i'], [source for source in sources if any(under(source, path) for path in paths)])
        return 0
    layers = read_layers()
    violations = [f'{path}:{line}: {what}' for path in sources for line, what in check_source(path, layers)]
    violations += clang_format(['--dry-run', '--Werror'], sources)
    print('\n'.join(violations) or 'lint: no violation')
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
