"""Runs a module confined: ``python -P -m app.jobs.confinement worker.runner``.

The process can change nothing but the folder that it starts in, and ends with the thread that
started it. This happens before anything else is imported, because libraries start threads, and
threads that are there already would not be confined.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from app.jobs.confinement import kernel
from app.jobs.confinement.process import Reach, confine, gpu_devices, libraries, packages


class _Found(MetaPathFinder):
    """Our packages, where they were found: the folder around them cannot be looked through now."""

    def __init__(self, specs: Mapping[str, ModuleSpec]) -> None:
        self._specs = specs

    def find_spec(
        self, fullname: str, _path: object, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self._specs.get(fullname)


def main() -> None:
    """Confine this process and become the module that the command line names."""
    [module] = sys.argv[1:]
    if kernel.IS_LINUX:
        kernel.die_with_parent(signal.SIGKILL)
    sys.meta_path.insert(0, _Found(packages()))
    confine(
        Reach(
            readable=libraries(),
            writable=(Path.cwd(),),
            devices=(Path(os.devnull), *gpu_devices()),
        )
    )
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
