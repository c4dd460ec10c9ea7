"""Seccomp: which system calls a process may make, decided by a small program in the kernel.

It allows what it knows, and answers everything else as a kernel does that has never heard of it
(``ENOSYS``): libraries fall back to what they used before such a call came up, and a call that a
future kernel brings is refused before anybody has thought about it.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html and ``linux/filter.h``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.jobs.confinement import kernel
from app.jobs.confinement.syscalls import NUMBERS

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
#: What the filter calls the machine: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.ENOSYS
_KILL_PROCESS = 0x80000000

#: Where the filter finds what it decides by, in bytes.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_WORD = 0xFFFFFFFF

_CLONE_THREAD = 0x00010000
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x70000000
#: PR_SET_NAME, PR_GET_NAME, PR_SET_VMA.
_NAMING = (15, 16, 0x53564D41)
#: Not among them: F_SETOWN and its kin, which make the kernel send signals to others.
_DESCRIPTOR_COMMANDS = (
    fcntl.F_DUPFD,
    fcntl.F_DUPFD_CLOEXEC,
    fcntl.F_GETFD,
    fcntl.F_SETFD,
    fcntl.F_GETFL,
    fcntl.F_SETFL,
    fcntl.F_GETLK,
    fcntl.F_SETLK,
    fcntl.F_SETLKW,
)


@dataclass(frozen=True)
class Only:
    """A call is allowed only where the low 32 bits of an argument, under ``mask``, are these."""

    argument: int  #: Counted from 0.
    values: tuple[int, ...]
    mask: int = _WORD


def is_available() -> bool:
    """Whether the kernel takes such filters, and this machine's calls are known here."""
    if not kernel.IS_LINUX or kernel.machine() not in _ARCHITECTURES:
        return False
    allow = ctypes.c_uint32(_ALLOW)
    try:
        kernel.call(_SECCOMP[kernel.machine()], _GET_ACTION_AVAIL, 0, ctypes.byref(allow))
    except OSError:
        return False
    return True


def restrict() -> None:
    """Refuse this thread, and those it starts, every call that computing does not need; for good.

    New threads are possible, new processes are not, so what one process holds is all there is.

    Raises:
        OSError: the kernel takes no filter.
    """
    program = _program(kernel.machine(), _conditions(os.getpid()))
    instructions = ctypes.create_string_buffer(program, len(program))
    handle = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    kernel.gain_nothing_by_exec()
    kernel.call(_SECCOMP[kernel.machine()], _SET_MODE_FILTER, 0, handle)


def _conditions(pid: int) -> dict[str, Only]:
    return {
        "clone": Only(0, (_CLONE_THREAD,), mask=_CLONE_THREAD | _NAMESPACES),
        "fcntl": Only(1, _DESCRIPTOR_COMMANDS),
        # A thread that aborts signals itself.
        "kill": Only(0, (pid,)),
        "tgkill": Only(0, (pid,)),
        "prctl": Only(0, _NAMING),
        "prlimit64": Only(0, (0, pid)),
    }


def _program(machine: str, conditions: Mapping[str, Only]) -> bytes:
    """Return the filter: for each call a comparison of its number, and what follows from it."""
    column = tuple(_ARCHITECTURES).index(machine)
    calls = {name: numbers[column] for name, numbers in NUMBERS.items()}
    blocks = [
        _block(number, conditions.get(name)) for name, number in calls.items() if number is not None
    ]
    return b"".join(
        (
            _instruction(_LOAD, _ARCHITECTURE),
            _instruction(_JUMP_IF_EQUAL, _ARCHITECTURES[machine], if_true=1),
            # Another machine's calls have other numbers.
            _instruction(_RETURN, _KILL_PROCESS),
            _instruction(_LOAD, _NUMBER),
            *blocks,
            _instruction(_RETURN, _REFUSE),
        )
    )


def _block(number: int, only: Only | None) -> bytes:
    """Return what decides about one call, and falls through where it is another."""
    decision = _instruction(_RETURN, _ALLOW) if only is None else b"".join(_decided(only))
    length = len(decision) // 8
    return _instruction(_JUMP_IF_EQUAL, number, if_false=length) + decision


def _decided(only: Only) -> Iterable[bytes]:
    yield _instruction(_LOAD, _ARGUMENTS + 8 * only.argument)
    yield _instruction(_AND, only.mask)
    for value in only.values:
        yield _instruction(_JUMP_IF_EQUAL, value, if_false=1)
        yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_RETURN, _REFUSE)


def _instruction(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)
