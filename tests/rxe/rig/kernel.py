"""A kernel that knows rxe, and an initramfs for it, out of a Debian package that is unpacked but not installed.

What is made stays in the cache folder (build/rxe), so that later runs need neither the network nor these seconds.
"""
import contextlib
import fcntl
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from .machine import RigError

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get('MCP_RXE_CACHE', HERE.parents[2] / 'build/rxe'))
KERNELS = ('6.1', '6.12')
# crc32_generic: without it `rdma link add` fails with ENOENT.
MODULES = ('virtio_pci virtio_console virtio_net virtio_rng 9p 9pnet_virtio overlay crc32_generic veth bridge sch_netem '
           'sch_tbf sch_ingress cls_u32 act_gact rdma_rxe rdma_ucm ib_uverbs').split()
DOWNLOAD_S = 300
TOOL_S = 120


def _run(command, limit_s=TOOL_S, **options):
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit_s, **options)
    except FileNotFoundError as error:
        raise RigError(f'{command[0]} is not installed') from error
    except subprocess.TimeoutExpired as error:
        raise RigError(f'{command[0]} took longer than {limit_s} s') from error
    if done.returncode != 0:
        raise RigError(f'{" ".join(map(str, command))}: {done.stderr.decode(errors="replace").strip()[-500:]}')
    return done.stdout.decode(errors='replace')


@contextlib.contextmanager
def _exclusively():
    """One process at a time fills the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _package(series):
    """The newest package of that series which apt knows."""
    known = _run(['apt-cache', 'pkgnames', f'linux-image-{series}.']).split()
    plain = re.compile(rf'linux-image-{re.escape(series)}\.[0-9]+[^a-z]*(deb[0-9]+)?-amd64')
    names = [name for name in known if plain.fullmatch(name)]
    if not names:
        raise RigError(f'apt knows no package linux-image-{series}.*-amd64')
    return max(names, key=lambda name: [int(number) for number in re.findall(r'\d+', name)])


def _unpack(series, folder):
    package = _package(series)
    _run(['apt-get', 'download', package], DOWNLOAD_S, cwd=folder)
    archive, = folder.glob('*.deb')
    _run(['dpkg-deb', '-x', archive, folder / 'root'])
    archive.unlink()
    version, = os.listdir(folder / 'root/lib/modules')
    _run(['depmod', '-b', folder / 'root', version])
    return version


def _module_files(root, version):
    """The modules with what they need, in the order in which they load."""
    files = []
    for module in MODULES:
        for line in _run(['modprobe', '-d', root, '-S', version, '--show-depends', module]).splitlines():
            kind, _, path = line.strip().partition(' ')
            if kind == 'insmod' and path.split()[0] not in files:
                files.append(path.split()[0])
    return files


def _keep_modules(series, folder, target):
    """Keeps of the package the kernel and the modules we load, uncompressed and numbered in their order."""
    version = _unpack(series, folder)
    (target / 'modules').mkdir(parents=True)
    shutil.copy(folder / f'root/boot/vmlinuz-{version}', target / 'vmlinuz')
    for number, file in enumerate(map(pathlib.Path, _module_files(folder / 'root', version))):
        data = file.read_bytes()
        if file.suffix == '.xz':
            data = lzma.decompress(data)
        (target / f'modules/{number:03}-{file.name.removesuffix(".xz")}').write_bytes(data)


def _kernel(series):
    target = CACHE / f'kernel-{series}'
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = pathlib.Path(folder, 'made')
            _keep_modules(series, pathlib.Path(folder), made)
            made.rename(target)
    return target


def _initramfs(kernel):
    """Busybox, rig/init, the agent and the modules. Its name tells its content, so a change makes a new one."""
    busybox = shutil.which('busybox')
    if not busybox:
        raise RigError('busybox is not installed (Debian: busybox-static)')
    own = {'init': HERE / 'init', 'agent.py': HERE / 'agent.py', 'bin/busybox': pathlib.Path(busybox)}
    modules = {f'modules/{file.name}': file for file in sorted((kernel / 'modules').iterdir())}
    digest = hashlib.sha256(b''.join(name.encode() + file.read_bytes() for name, file in {**own, **modules}.items()))
    target = kernel / f'initramfs-{digest.hexdigest()[:16]}'
    if target.exists():
        return target
    for stale in kernel.glob('initramfs-*'):
        stale.unlink()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = pathlib.Path(folder, 'root')
        for name, file in {**own, **modules}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / name)
            (root / name).chmod(0o755)
        names = '\n'.join(str(path.relative_to(root)) for path in sorted(root.rglob('*')))
        with open(pathlib.Path(folder, 'made'), 'wb') as made:
            subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], input=names.encode(), stdout=made, cwd=root,
                           check=True, timeout=TOOL_S)
        pathlib.Path(folder, 'made').rename(target)
    return target


def get(series):
    """Returns the paths of kernel and initramfs, as (vmlinuz, initramfs); makes them when they are not there."""
    for tool in ('dpkg-deb', 'apt-get', 'depmod', 'modprobe', 'cpio'):
        if not shutil.which(tool, path=f'{os.environ.get("PATH", "")}:/usr/sbin:/sbin'):
            raise RigError(f'{tool} is not installed')
    with _exclusively():
        kernel = _kernel(series)
        return kernel / 'vmlinuz', _initramfs(kernel)
