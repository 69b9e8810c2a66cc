"""Builds perf/peers/programs, each only if its library is there. They are no part of the product, so meson is not."""
import pathlib
import shlex
import shutil
import subprocess

PROGRAMS = pathlib.Path(__file__).resolve().parents[1] / 'programs'
ROOT = PROGRAMS.parents[2]
_FLAGS = ['-O2', '-g', '-Wall', '-Wextra', f'-I{ROOT}']
_C, _CXX = ['gcc'], ['g++', '-std=c++17']


class BuildError(Exception):
    """Why a program is not there; becomes the reason for which its peer is skipped."""


def _pkg_config(package):
    done = subprocess.run(['pkg-config', '--cflags', '--libs', package], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f'pkg-config does not know {package}; is its development package installed?')
    return shlex.split(done.stdout)


# Program: source, compiler, a function that gives its libraries' flags.
_RECIPES = {
    'bare': ('bare.c', _C, lambda: ['-pthread']),
    'gloo': ('gloo.cc', _CXX, lambda: ['-lgloo', '-pthread']),
    'grpc': ('grpc.cc', _CXX, lambda: _pkg_config('grpc++_unsecure')),
    'libfabric': ('libfabric.c', _C, lambda: _pkg_config('libfabric')),
    'openmpi': ('openmpi.c', ['mpicc'], lambda: []),
    'zeromq': ('zeromq.c', _C, lambda: _pkg_config('libzmq')),
}


def build(program, folder):
    """Returns the path of `program`, built now if it is older than its sources."""
    source, compiler, libraries = _RECIPES[program]
    target = pathlib.Path(folder) / program
    sources = [PROGRAMS / source, PROGRAMS / 'common.h']
    if target.exists() and all(target.stat().st_mtime > one.stat().st_mtime for one in sources):
        return target
    if not shutil.which(compiler[0]):
        raise BuildError(f'{compiler[0]} is not installed')
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [*compiler, *_FLAGS, str(sources[0]), '-o', str(target), *libraries()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if 'error' in line or 'undefined' in line]
        raise BuildError(f'{source} does not build: {(errors or ["no message"])[0][:200]}')
    return target
