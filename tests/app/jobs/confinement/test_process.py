"""Confinement on this machine's kernel, each time in a process of its own."""

import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

import app
from app.jobs.confinement import landlock, seccomp
from app.jobs.confinement.process import Confinement, libraries

if not (landlock.version() and seccomp.is_available()):
    pytest.skip("the kernel has no Landlock or no seccomp", allow_module_level=True)

_ROOT = Path(__file__).parents[4]
_PRELUDE = """
import ctypes, os, resource, sys, threading
from pathlib import Path
from app.jobs.confinement.process import Confinement, Reach, confine

def refused(act, *arguments):
    try:
        act(*arguments)
    except OSError as error:
        return error.errno
"""


def _say(script, *arguments, cwd=None):
    """Return what a script prints that begins with the prelude."""
    command = [sys.executable, "-c", _PRELUDE + textwrap.dedent(script), *map(str, arguments)]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_what_holds_is_what_the_kernel_has():
    assert _say("print(confine(Reach(readable=())))") == str(
        Confinement(landlock=landlock.version(), seccomp=True)
    )


def test_only_what_is_granted_can_be_opened(tmp_path):
    for name in ("readable", "writable", "neither"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    script = """
        folder = Path(sys.argv[1])
        confine(Reach(readable=(folder / "readable",), writable=(folder / "writable",)))
        for name in ("readable", "writable", "neither"):
            file = folder / name / "file"
            answers = [refused(file.read_text), refused(file.write_text, ""),
                refused((folder / name / "new").mkdir), refused(os.listdir, folder / name)]
            print(name, *("no" if answer else "yes" for answer in answers))
        """

    assert _say(script, tmp_path).splitlines() == [
        "readable yes no no yes",
        "writable yes yes yes yes",
        "neither no no no no",
    ]


def test_one_file_can_be_granted_without_its_folder(tmp_path):
    (tmp_path / "asked").touch()
    (tmp_path / "other").touch()
    script = """
        folder = Path(sys.argv[1])
        confine(Reach(readable=(folder / "asked", folder / "absent")))
        print(refused((folder / "asked").read_bytes), refused((folder / "other").read_bytes))
        """

    assert _say(script, tmp_path) == "None 13"


def test_installed_libraries_can_be_read_and_what_lies_beside_our_packages_cannot():
    readable = libraries()

    assert Path(sysconfig.get_path("purelib")) in readable
    assert Path(app.__file__).parent in readable
    assert not any(_ROOT.is_relative_to(path) for path in readable)


def test_in_its_folder_a_process_works_as_usual(tmp_path):
    script = """
        confine(Reach(readable=(), writable=(Path.cwd(),)))
        Path("a/b").mkdir(parents=True)
        Path("a/b/file").write_text("x" * 10)
        Path("a/b/file").rename("moved")
        os.truncate(os.open("moved", os.O_RDWR), 5)
        Path("a/b").rmdir()
        print(sorted(os.listdir()), Path("moved").stat().st_size)
        """

    assert _say(script, cwd=tmp_path) == "['a', 'moved'] 5"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param("os.symlink('/etc/passwd', 'made')", id="link"),
        pytest.param("os.mkfifo('made')", id="pipe"),
        pytest.param("os.mknod('made')", id="device"),
    ],
)
def test_nothing_can_be_made_that_others_would_fall_over(tmp_path, make):
    script = f"""
        confine(Reach(readable=(), writable=(Path.cwd(),)))
        print(refused(lambda: {make}), os.listdir())
        """

    assert _say(script, cwd=tmp_path) == "38 []"


def test_a_process_with_a_second_thread_is_not_confined():
    script = """
        forever = threading.Event()
        threading.Thread(target=forever.wait, daemon=True).start()
        try:
            confine(Reach(readable=()))
        except RuntimeError as error:
            print(error)
        """

    assert _say(script).endswith("before it has a second thread. Received: 2")


def test_a_thread_that_is_started_early_is_confined_too():
    script = """
        confine(Reach(readable=()))
        told = []
        thread = threading.Thread(target=lambda: told.append(refused(open, "/etc/passwd")))
        thread.start()
        thread.join()
        print(told, refused(os.fork), refused(os.posix_spawn, "/bin/true", ["true"], {}))
        """

    assert _say(script) == "[13] 38 38"


def test_bounds_cannot_be_taken_back():
    script = """
        confine(Reach(readable=()))
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
        except ValueError:
            print(most, resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 4096)
        """

    assert _say(script) == "0 True"


def test_a_process_may_end_itself_by_a_signal_and_nobody_else():
    script = """
        confine(Reach(readable=()))
        print(refused(os.kill, os.getppid(), 0), refused(os.kill, 0, 0), refused(os.kill, -1, 0))
        print(refused(os.kill, os.getpid(), 0))
        """

    assert _say(script) == "38 38 38\nNone"


#: By their numbers on x86_64, which never change.
_NEVER = {
    "shmget": 29, "socket": 41, "connect": 42, "socketpair": 53, "fork": 57, "vfork": 58,
    "execve": 59, "msgget": 68, "chdir": 80, "creat": 85, "link": 86, "symlink": 88, "chmod": 90,
    "fchmod": 91, "chown": 92, "ptrace": 101, "capset": 126, "mknod": 133, "personality": 135,
    "setpriority": 141, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166,
    "init_module": 175, "setxattr": 188, "tkill": 200, "io_setup": 206, "kexec_load": 246,
    "add_key": 248, "keyctl": 250, "inotify_init": 253, "unshare": 272, "vmsplice": 278,
    "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
    "memfd_create": 319, "bpf": 321, "execveat": 322, "userfaultfd": 323, "pidfd_send_signal": 424,
    "io_uring_setup": 425, "open_tree": 428, "pidfd_open": 434, "clone3": 435, "openat2": 437,
    "pidfd_getfd": 438, "process_madvise": 440, "memfd_secret": 447, "a call to come": 999,
    "mount in the x32 numbering": 0x40000000 + 165,
}  # fmt: skip


@pytest.mark.skipif("platform.machine() != 'x86_64'", reason="calls have other numbers")
def test_calls_that_computing_does_not_need_do_not_exist():
    script = """
        libc = ctypes.CDLL(None, use_errno=True)
        confine(Reach(readable=()))
        for number in map(int, sys.argv[1:]):
            result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
            if (result, ctypes.get_errno()) != (-1, 38):
                print(number)
        """

    assert _say(script, *_NEVER.values()) == ""


@pytest.mark.skipif("platform.machine() != 'x86_64'", reason="calls have other numbers")
def test_calls_of_another_machine_end_the_process():
    script = """
        import mmap
        confine(Reach(readable=()))
        # mov eax, 20 (getpid on i386); int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex("b814000000cd80c3"))
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        """
    command = [sys.executable, "-c", _PRELUDE + textwrap.dedent(script)]

    assert subprocess.run(command, capture_output=True, check=False).returncode == -31
