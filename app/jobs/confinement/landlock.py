"""Landlock: which files a process may open, decided by the kernel. From Linux 5.13 on.

Source: https://docs.kernel.org/userspace-api/landlock.html and ``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

from app.jobs.confinement import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_FOR_VERSION = 1
_PATH_BENEATH = 1
_KNOWS_NETWORK, _KNOWS_SCOPES = 4, 6
_TCP_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class Access(IntFlag):
    """What can be done to a file. Only what a ruleset handles is refused."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13  #: Rename into another folder. From version 2 on.
    TRUNCATE = 1 << 14  #: From version 3 on; before, it is not refused.
    IOCTL_DEV = 1 << 15  #: From version 5 on.


_SINCE_1 = Access((1 << 13) - 1)
_OF_FILES = Access.READ_FILE | Access.WRITE_FILE | Access.TRUNCATE | Access.IOCTL_DEV

READ = Access.READ_FILE | Access.READ_DIR
#: Not among them: links, sockets, pipes and devices: who reads the folder could fall over them.
WRITE = (
    READ
    | Access.WRITE_FILE
    | Access.TRUNCATE
    | Access.MAKE_REG
    | Access.MAKE_DIR
    | Access.REMOVE_FILE
    | Access.REMOVE_DIR
    | Access.REFER
)
USE_DEVICE = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV


@dataclass(frozen=True)
class Rule:
    """What remains possible with a file, or with everything below a folder."""

    path: Path
    access: Access


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("access_fs", ctypes.c_uint64),
        ("access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """Return which version of Landlock the kernel has; 0 where there is none."""
    if not kernel.IS_LINUX:
        return 0
    try:
        return kernel.call(_CREATE_RULESET, None, 0, _ASK_FOR_VERSION)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return 0
        raise


def restrict(rules: Iterable[Rule]) -> None:
    """Refuse this thread, and those it starts, every file that no rule names; for good.

    Where the kernel's version can, TCP, signals to the outside and sockets without a path are
    refused as well. That a file is there, and how large, stays visible, and what is open stays
    open.

    Args:
        rules: Of paths that exist. Several rules for one file add up.

    Raises:
        OSError: the kernel has no Landlock, or a path is absent.
    """
    handled = _handled(version())
    ruleset = _created(handled)
    try:
        for rule in rules:
            _add(ruleset, rule, handled)
        kernel.gain_nothing_by_exec()
        kernel.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _handled(known: int) -> _Ruleset:
    later = ((2, Access.REFER), (3, Access.TRUNCATE), (5, Access.IOCTL_DEV))
    files = sum((access for since, access in later if known >= since), _SINCE_1)
    network = _TCP_BIND_AND_CONNECT if known >= _KNOWS_NETWORK else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if known >= _KNOWS_SCOPES else 0
    return _Ruleset(files, network, scoped)


def _created(handled: _Ruleset) -> int:
    return kernel.call(_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)


def _add(ruleset: int, rule: Rule, handled: _Ruleset) -> None:
    access = rule.access if rule.path.is_dir() else rule.access & _OF_FILES
    path = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    try:
        attributes = _PathBeneath(access & handled.access_fs, path)
        kernel.call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(attributes), 0)
    finally:
        os.close(path)
