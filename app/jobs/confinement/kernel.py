"""Calls into the Linux kernel that Python does not offer."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES_VERSION_3 = 0x20080522

IS_LINUX = sys.platform == "linux"


def machine() -> str:
    """Return the processor's architecture, as the kernel names it."""
    return os.uname().machine


def call(number: int, *arguments: object) -> int:
    """Make a system call and return its result.

    Raises:
        OSError: the kernel refused it.
    """
    return _checked(_libc().syscall(*map(_word, (number, *arguments))))


def die_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def gain_nothing_by_exec() -> None:
    """Set ``no_new_privs``, without which the kernel lets only root confine itself."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up what makes root more than another user; others have nothing to give.

    On a machine whose calls are not known here, nothing happens, as there is no seccomp either.
    """
    if machine() not in _CAPSET:
        return
    this_process = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    call(_CAPSET[machine()], ctypes.byref(this_process), ctypes.byref(none))


def _prctl(option: int, value: int) -> None:
    _checked(_libc().prctl(*map(_word, (option, value, 0, 0, 0))))


def _word(argument: object) -> object:
    """Return a number in the width of a register: the kernel reads all of it."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
