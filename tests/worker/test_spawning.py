"""A real nursery, with a small stand-in for the runner, which takes TensorFlow."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from worker.errors import RunnerDiedError
from worker.messages import Ready
from worker.runners import Runner
from worker.spawning import RUNNER, Nursery

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is none")

_STAND_IN = """
import json, os, resource, sys
from worker import nursery, runner
def say(**message): os.write(1, (json.dumps(message) + chr(10)).encode())
def notice(**what): say(kind="notice", notice={{"code": "c", "message": json.dumps(what)}})
def main():
    say(kind="ready")
{body}
    return 3
runner.prepare, runner.main = lambda: None, main
sys.exit(nursery.main())
"""
_WAIT = "sys.stdin.read()"
#: It does not even notice that nobody holds the other end of its stdin.
_SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def nursery(tmp_path):
    """Start a nursery whose runners do what is told."""
    nurseries = []

    def started(body=_WAIT):
        script = _STAND_IN.format(body=textwrap.indent(textwrap.dedent(body), "    "))
        command = (sys.executable, "-P", "-c", script)
        nurseries.append(Nursery(tmp_path / "nursery", command=command))
        return nurseries[-1]

    yield started
    for each in nurseries:
        each.__exit__()


def _next(runner):
    report = runner.receive(timeout_seconds=30)
    assert report is not None
    return report


def _status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _told(runner):
    assert _next(runner) == Ready()
    return json.loads(_next(runner).notice.message)


def test_a_runner_is_a_child_of_the_worker_and_confined(nursery, tmp_path):
    with Runner(tmp_path, spawn=nursery().spawn) as runner:
        assert _next(runner) == Ready()
        status = _status(runner.pid)

    wanted = {"Name": RUNNER, "PPid": str(os.getpid()), "Seccomp": "2", "NoNewPrivs": "1"}
    assert {name: status[name] for name in wanted} == wanted


def test_a_runner_has_nothing_open_but_what_it_was_given(nursery, tmp_path):
    body = """
        import stat
        kinds = {}
        for fd in range(100):
            try:
                kinds[fd] = stat.S_IFMT(os.fstat(fd).st_mode) == stat.S_IFSOCK
            except OSError:
                pass
        flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH for fd in kinds}
        notice(sockets=any(kinds.values()), read=[fd for fd in kinds if not flags[fd]])
        sys.stdin.read()
    """
    with Runner(tmp_path, spawn=nursery("import fcntl\n" + textwrap.dedent(body)).spawn) as runner:
        assert _told(runner) == {"sockets": False, "read": [0, 1, 2]}


def test_a_runner_works_in_its_folder_and_knows_no_other(nursery, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPALIER_REDIS_URL", "redis://:secret@broker")
    body = """
        import tempfile
        notice(known=dict(os.environ), place=os.getcwd(), temporary=tempfile.gettempdir())
        sys.stdin.read()
    """
    with Runner(tmp_path, spawn=nursery(body).spawn) as runner:
        told = _told(runner)
        environ = Path(f"/proc/{runner.pid}/environ").read_bytes()

    places = {told["place"], told["temporary"]}
    places |= {told["known"][name] for name in ("HOME", "TMPDIR", "KERAS_HOME")}
    assert places == {str(runner.folder)}
    assert "secret" not in json.dumps(told)
    assert b"secret" not in environ


@pytest.mark.parametrize("is_sparing", [True, False])
def test_a_sparing_runner_gives_back_what_tensorflow_has_freed(nursery, tmp_path, is_sparing):
    body = """
        import re, tensorflow as tf
        def held():
            with open("/proc/self/status") as status:
                return int(re.search(r"RssAnon:\\s+([0-9]+)", status.read())[1]) // 1024
        tf.ones(1000).numpy()
        before = held()
        several = [tf.ones(1 << 22) for _ in range(16)]
        most = held()
        del several
        notice(held=most - before, kept=held() - before)
        sys.stdin.read()
    """
    with Runner(tmp_path, spawn=nursery(body).spawn, is_sparing=is_sparing) as runner:
        told = _told(runner)

    assert told["held"] > 240
    assert (told["kept"] < 32) is is_sparing, "in MiB"


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("os.kill(os.getpid(), 9)", "killed, most likely because it ran out of memory"),
        ("pass", r"ended with an error of its own \(status 3\)"),
        ("raise RuntimeError('last words')", r"ended with an error of its own \(status 1\)"),
    ],
)
def test_a_death_is_told_in_words(nursery, tmp_path, caplog, ending, words):
    with Runner(tmp_path, spawn=nursery(ending).spawn) as runner:
        _next(runner)
        with pytest.raises(RunnerDiedError, match=words):
            _next(runner)

    assert ("last words" in caplog.text) == ("last words" in ending)


def test_what_has_ended_leaves_no_zombie(nursery, tmp_path):
    with Runner(tmp_path, spawn=nursery().spawn) as runner:
        _next(runner)

    with pytest.raises(ChildProcessError):
        os.waitpid(runner.pid, os.WNOHANG)


def test_waiting_for_a_runner_has_an_end(nursery, tmp_path):
    with Runner(tmp_path, spawn=nursery().spawn) as runner:
        with pytest.raises(subprocess.TimeoutExpired):
            runner._process.wait(0.05)
        assert runner.is_alive


def test_a_nursery_that_died_is_started_again_and_its_runners_live_on(nursery, tmp_path, caplog):
    one = nursery()
    with Runner(tmp_path, spawn=one.spawn) as before:
        one._process.kill()
        one._process.wait()
        with Runner(tmp_path, spawn=one.spawn) as after:
            assert _next(after) == Ready()
        assert before.is_alive

    assert "is started again" in caplog.text


def test_a_nursery_outlives_the_thread_that_started_it_again(nursery, tmp_path, caplog):
    one = nursery()
    one._process.kill()
    one._process.wait()

    def start_again():
        with Runner(tmp_path, spawn=one.spawn) as runner:
            assert _next(runner) == Ready()

    # As a spare is made: the kernel takes a process' parent to be the thread that started it.
    thread = threading.Thread(target=start_again)
    thread.start()
    thread.join()

    with pytest.raises(subprocess.TimeoutExpired):
        one._process.wait(0.5)
    with Runner(tmp_path, spawn=one.spawn) as runner:
        assert _next(runner) == Ready()
    assert caplog.text.count("is started again") == 1


def test_a_nursery_that_dies_as_it_is_asked_starts_no_runner(nursery, tmp_path, caplog):
    one = nursery("import no_such_module")
    one._command = (sys.executable, "-c", "import no_such_module")
    os.kill(one._process.pid, signal.SIGKILL)
    one._process.wait()

    with pytest.raises(RunnerDiedError, match="could not start"):
        Runner(tmp_path, spawn=one.spawn)

    assert "No module named 'no_such_module'" in caplog.text
    assert not list(tmp_path.glob("runner-*"))


def test_a_nursery_that_does_not_answer_is_given_up(nursery, tmp_path, monkeypatch):
    monkeypatch.setattr("worker.spawning._PATIENCE_SECONDS", 0.2)
    one = nursery()
    os.kill(one._process.pid, signal.SIGSTOP)

    with pytest.raises(RunnerDiedError, match="could not start"):
        Runner(tmp_path, spawn=one.spawn)


def test_nursery_and_runner_end_with_their_worker(tmp_path):
    script = f"""
        import sys, time
        from pathlib import Path
        from worker.runners import Runner
        from worker.spawning import Nursery
        command = (sys.executable, "-P", "-c", {_STAND_IN.format(body="    " + _SLEEP)!r})
        folder = Path({str(tmp_path)!r})
        nursery = Nursery(folder / "nursery", command=command)
        runner = Runner(folder, spawn=nursery.spawn)
        runner.receive(timeout_seconds=30)
        print(nursery._process.pid, runner.pid, flush=True)
        time.sleep(60)
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    with worker:
        descriptors = [os.pidfd_open(int(pid)) for pid in worker.stdout.readline().split()]
        worker.kill()

    assert len(descriptors) == 2
    assert all(_ends(descriptor) for descriptor in descriptors)


def _ends(descriptor):
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(30_000))
