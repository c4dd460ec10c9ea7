"""What code from a stranger's file would try, as a process meant for files runs it.

Each escape does what its name says, or raises. Importing this starts no thread, so that a process
can be confined after it.
"""

import ctypes
import fcntl
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from app.jobs.errors import RefusedFileError

_PTRACE_SEIZE = 0x4206
_PR_SET_PDEATHSIG = 1
_MEMORY_BYTES = 2**20


@dataclass(frozen=True)
class Surroundings:
    """What there is to reach for: files of another tenant, a victim's process, open ports."""

    folder: str  #: Of another tenant, with ``secret.txt`` and ``secret.h5`` in it.
    victim: int  #: A process of the same user.
    tcp: int
    udp: int
    unix: str

    @property
    def text(self):
        return Path(self.folder, "secret.txt")

    @property
    def arguments(self):
        """For the command line of ``be_hostile``."""
        return json.dumps(asdict(self))


@contextmanager
def surroundings(folder):
    """Yield what there is to reach for, made in ``folder``; the sockets listen until the end."""
    (folder / "secret.txt").write_text("secret")
    (folder / "emptied").write_text("secret")
    _write_hdf5(folder / "secret.h5")
    with (
        # It ends when the block does, because its input does.
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as victim,  # noqa: S607
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(folder / "socket"))
        unix.listen()
        yield Surroundings(
            folder=str(folder),
            victim=victim.pid,
            tcp=tcp.getsockname()[1],
            udp=udp.getsockname()[1],
            unix=str(folder / "socket"),
        )


def _write_hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["secret"] = 1


def read_the_users(_):
    assert Path("/etc/passwd").read_text()


def read_anothers_file(around):
    assert around.text.read_text()


def list_anothers_folder(around):
    assert list(Path(around.folder).iterdir())


def read_the_parents_environment(_):
    assert Path(f"/proc/{os.getppid()}/environ").read_bytes()


def write_outside(around):
    Path(around.folder, "written").write_text("here I was")


def link_to_anothers_file(around):
    Path("link").symlink_to(around.text)
    Path("link").unlink()


def connect_by_tcp(around):
    socket.create_connection(("127.0.0.1", around.tcp), timeout=10).close()


def send_by_udp(around):
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"secret", ("127.0.0.1", around.udp))


def connect_to_a_unix_socket(around):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(around.unix)


def signal_another_process(around):
    os.kill(around.victim, signal.SIGCONT)


def trace_another_process(around):
    _call(_libc().ptrace(_PTRACE_SEIZE, around.victim, None, None))


def read_by_tensorflow(around):
    import tensorflow as tf

    assert tf.io.read_file(str(around.text)).numpy()


def write_by_tensorflow(around):
    import tensorflow as tf

    tf.io.write_file(str(Path(around.folder, "written")), "here I was")


def open_by_h5py(around):
    import h5py

    with h5py.File(Path(around.folder, "secret.h5")) as file:
        assert file["secret"][()] == 1


def start_a_program(_):
    subprocess.run(["/bin/sh", "-c", "true"], check=True)


def link_anothers_file_hard(around):
    Path("link").hardlink_to(around.text)
    Path("link").unlink()


def change_who_may_read_anothers_file(around):
    around.text.chmod(0o600)


def empty_anothers_file(around):
    os.truncate(Path(around.folder, "emptied"), 0)


def have_the_kernel_signal_another_process(around):
    reader, _ = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, around.victim)


def outlive_the_parent(_):
    _call(_libc().prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0))


def hold_memory_that_does_not_show(_):
    os.ftruncate(os.memfd_create("hidden"), _MEMORY_BYTES)


#: What is known to have worked in an unconfined process, before there was confinement.
PROBES = (
    read_the_users,
    read_anothers_file,
    list_anothers_folder,
    read_the_parents_environment,
    write_outside,
    link_to_anothers_file,
    connect_by_tcp,
    send_by_udp,
    connect_to_a_unix_socket,
    signal_another_process,
    trace_another_process,
    read_by_tensorflow,
    write_by_tensorflow,
    open_by_h5py,
    start_a_program,
)
#: What Landlock alone, or watching memory alone, would let through.
SUBTLER = (
    link_anothers_file_hard,
    change_who_may_read_anothers_file,
    empty_anothers_file,
    have_the_kernel_signal_another_process,
    outlive_the_parent,
    hold_memory_that_does_not_show,
)
WITHOUT_TENSORFLOW = tuple(
    escape for escape in (*PROBES, *SUBTLER) if not escape.__name__.endswith("by_tensorflow")
)


def succeeding(escapes, around):
    """Return the names of those that come off."""
    return [escape.__name__ for escape in escapes if _comes_off(escape, around)]


def _comes_off(escape, around):
    try:
        escape(around)
    except Exception:  # noqa: BLE001  (TensorFlow has errors of its own)
        return False
    return True


def be_a_hostile_runner(arguments):
    """Be a runner in which the uploaded model has found a way to run code."""
    around = Surroundings(**json.loads(arguments))

    def prune(_order, report, *, asked):
        del asked
        from app.jobs.job import Notice
        from worker.messages import Noticed

        done = json.dumps(succeeding((*PROBES, *SUBTLER), around))
        report(Noticed(notice=Notice(code="escapes", message=done)))

    _replace("worker.pruning", prune=prune)


def be_a_hostile_check(arguments):
    """Be a static check in which the uploaded model has found a way to run code."""
    around = Surroundings(**json.loads(arguments))

    def summarise_model(_path):
        done = json.dumps(succeeding(WITHOUT_TENSORFLOW, around))
        raise RefusedFileError("escapes", done, hint="")

    _replace("app.jobs.intake.model", summarise_model=summarise_model)


def run(module):
    """Run the module as ``python -m`` does."""
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_unconfined(module):
    """Run the module as if the kernel could confine nothing."""
    from app.jobs.confinement import process

    process.confine = lambda _reach: None
    run(module)


def _replace(name, **attributes):
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
