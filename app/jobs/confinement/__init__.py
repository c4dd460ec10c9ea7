"""Confinement by the Linux kernel: what a process that opens a stranger's file cannot do.

- ``process``: ``confine`` gives up, for good, every file but a few, every system call that
  computing does not need, and what root could do. It needs no privileges, and works in an
  ordinary container.
- ``landlock``, ``seccomp``, ``syscalls``: the two means, and the calls that remain.
- ``trial``: what holds on this machine, found out by a process that tries.

It is our own code, by ctypes, and not a library: see ``docs/decisions/0007``.
"""
