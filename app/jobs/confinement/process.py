"""What a process gives up before it opens a stranger's file."""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import ModuleType

from app.jobs.confinement import kernel, landlock, seccomp
from app.jobs.confinement.landlock import Rule

#: The first that refuses to empty files that may not be written; Linux 6.2.
LEAST_LANDLOCK = 3

_PACKAGES = ("app", "worker", "pruning_core")
#: Python's own modules, and those that were installed, as ``sysconfig`` calls them.
_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
_MAX_FILE_BYTES = 32 * 2**30
_MAX_OPEN_FILES = 4096
_FIRST_TO_GO = "1000"
#: Shared libraries, and what numerical ones ask about the machine.
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/driver/nvidia",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/dev/urandom",
)
#: TensorFlow ends itself where it cannot read how it was called.
_ABOUT_ITSELF = ("/proc/self/cmdline", "/proc/self/maps", "/proc/self/status")


@dataclass(frozen=True)
class Confinement:
    """What of it holds, on this machine."""

    landlock: int  #: Version of the kernel's Landlock; 0: none, every file of the user can be read.
    seccomp: bool  #: Whether system calls are refused.

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing that a service for strangers needs."""
        return self.landlock >= LEAST_LANDLOCK and self.seccomp

    def __str__(self) -> str:
        """Return it in words for the operator."""
        files = f"Landlock {self.landlock}" if self.landlock else "no Landlock"
        return f"{files}, {'seccomp' if self.seccomp else 'no seccomp'}"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The files that a confined process may open. Paths that do not exist are passed over."""

    readable: tuple[Path, ...]  #: Files, and folders with everything below.
    writable: tuple[Path, ...] = ()  #: Folders in which files and folders come and go.
    devices: tuple[Path, ...] = (Path("/dev/null"),)

    def rules(self) -> Generator[Rule]:
        """Yield what Landlock is to allow."""
        for paths, access in (
            (self.readable, landlock.READ),
            (self.writable, landlock.WRITE),
            (self.devices, landlock.USE_DEVICE),
        ):
            yield from (Rule(path, access) for path in paths if path.exists())


def packages() -> dict[str, ModuleSpec]:
    """Return where our own packages are, those that are installed."""
    specs = {name: find_spec(name) for name in _PACKAGES}
    return {name: spec for name, spec in specs.items() if spec is not None}


def libraries() -> tuple[Path, ...]:
    """Return what a process reads to run at all: libraries, and nothing that anybody made.

    ``sys.path`` would be too much: it names the folder of a checkout, with everybody's files in it.
    """
    own = (spec.submodule_search_locations or () for spec in packages().values())
    installed = (sysconfig.get_path(name) for name in _INSTALLED)
    linked = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    folders = chain(chain.from_iterable(own), installed, filter(None, linked))
    return tuple(Path(path) for path in (*folders, *_SYSTEM, *_ABOUT_ITSELF))


def gpu_devices() -> tuple[Path, ...]:
    """Return the device files of NVIDIA's driver; none where there is no such device."""
    return tuple(Path("/dev").glob("nvidia*"))


def confine(reach: Reach) -> Confinement:
    """Confine this process, for good, as far as the kernel can; return how far that is.

    It keeps what it has open, and may start threads. It loses every file out of reach, sockets,
    other processes, the capabilities of root, core dumps, and every system call that computing
    does not need. When memory runs out, it is the first that the kernel ends.

    Raises:
        RuntimeError: it has other threads already, which would stay as they are.
        OSError: the kernel refused what it said it can do.
    """
    if not kernel.IS_LINUX:
        return Confinement(landlock=0, seccomp=False)
    _require_one_thread()
    _bound()
    _keep_known(_ABOUT_ITSELF)
    kernel.drop_capabilities()
    confinement = Confinement(landlock=landlock.version(), seccomp=seccomp.is_available())
    if confinement.landlock:
        landlock.restrict(reach.rules())
    if confinement.seccomp:
        seccomp.restrict()
    return confinement


def confine_to(folder: Path) -> Confinement:
    """Confine this process to what any of them reads, to GPUs, and to ``folder`` for writing.

    Raises:
        RuntimeError: as ``confine``.
        OSError: as ``confine``.
    """
    sys.meta_path.insert(0, _Found(packages()))
    devices = (Path(os.devnull), *gpu_devices())
    return confine(Reach(readable=libraries(), writable=(folder,), devices=devices))


class _Found(MetaPathFinder):
    """Our packages, where they were found: the folder around them cannot be looked through now."""

    def __init__(self, specs: Mapping[str, ModuleSpec]) -> None:
        self._specs = specs

    def find_spec(
        self, fullname: str, _path: object, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self._specs.get(fullname)


def _require_one_thread() -> None:
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        message = f"a process is confined before it has a second thread. Received: {threads}"
        raise RuntimeError(message)


def _bound() -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def _keep_known(paths: tuple[str, ...]) -> None:
    """Hold these for as long as this process lives.

    The kernel makes the files of ``/proc`` anew when it has forgotten them, for want of memory,
    and a rule for the former ones says nothing about the new.
    """
    for path in paths:
        os.open(path, os.O_PATH | os.O_CLOEXEC)
