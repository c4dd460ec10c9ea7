"""Runner processes, with small scripts in the place of the real one, which takes TensorFlow."""

import os
import signal
import sys
import textwrap
import time

import pytest

from app.jobs.job import Stage
from worker.errors import RunnerDiedError
from worker.messages import Ready, StageBegun
from worker.runners import Runner, RunnerPool
from worker.spawning import by_command

_READY = 'print(\'{"kind":"ready"}\', flush=True)\n'
_PATIENT = _READY + "import sys; sys.stdin.read()"


def _script(body):
    return by_command((sys.executable, "-c", textwrap.dedent(body)))


@pytest.fixture
def start(tmp_path):
    runners = []

    def started(body):
        runners.append(Runner(tmp_path / "work", spawn=_script(body)))
        return runners[-1]

    yield started
    for runner in runners:
        runner.end()


def _next(runner):
    report = runner.receive(timeout_seconds=30)
    assert report is not None
    return report


def _is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_reports_come_one_by_one_however_they_are_cut(start):
    runner = start(
        """
        import sys, time
        for piece in ('{"kind":"re', 'ady"}\\n{"kind":"stage",', '"stage":"baseline"}\\n'):
            sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.05)
        """
    )

    assert _next(runner) == Ready()
    assert _next(runner) == StageBegun(stage=Stage.BASELINE)


def test_a_silent_runner_is_not_waited_for(start):
    runner = start(_PATIENT)
    _next(runner)

    assert runner.receive(timeout_seconds=0.01) is None


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed, most likely because it ran out of memory"),
        ("import os; os.kill(os.getpid(), 11)", r"crashed \(SIGSEGV\)"),
        ("raise SystemExit(3)", r"ended with an error of its own \(status 3\)"),
        ("print('no report', flush=True)", "something that is no report"),
        ("import os, time; os.close(1); time.sleep(60)", "stopped talking"),
    ],
)
def test_a_death_is_told_in_words(start, monkeypatch, ending, words):
    monkeypatch.setattr("worker.runners._EXIT_SECONDS", 0.5)
    runner = start(_READY + ending)
    _next(runner)

    with pytest.raises(RunnerDiedError, match=words):
        _next(runner)


def test_a_runner_that_cannot_start_is_told_apart(start, caplog):
    runner = start("import no_such_module")

    with pytest.raises(RunnerDiedError, match="could not start"):
        _next(runner)
    assert "No module named 'no_such_module'" in caplog.text


def test_a_report_without_end_is_cut_off(start, monkeypatch):
    monkeypatch.setattr("worker.runners.MAX_LINE_BYTES", 1000)
    runner = start("while True: print('x' * 100, end='')")

    with pytest.raises(RunnerDiedError, match="without end"):
        _next(runner)


def test_a_runner_knows_nothing_of_the_workers_environment(start, monkeypatch):
    monkeypatch.setenv("ESPALIER_REDIS_URL", "redis://:secret@broker")
    runner = start(
        """
        import json, os
        from worker.messages import Noticed, line_of
        from app.jobs.job import Notice
        known = json.dumps([dict(os.environ), os.getcwd()])
        os.write(1, line_of(Noticed(notice=Notice(code="environment", message=known))))
        """
    )

    known = _next(runner).notice.message

    assert "secret" not in known
    assert f'"HOME": "{runner.folder}"' in known
    assert f'"TMPDIR": "{runner.folder}"' in known


def test_a_runner_that_removes_its_log_is_heard_all_the_same(start, caplog):
    runner = start("import os, sys; os.remove('log'); sys.exit('last words')")

    with pytest.raises(RunnerDiedError):
        _next(runner)

    assert "last words" in caplog.text


def test_memory_is_what_cannot_be_dropped(start, tmp_path):
    (tmp_path / "data").write_bytes(bytes(100 * 2**20))
    runner = start(
        f"""
        import mmap, sys
        file = open({str(tmp_path / "data")!r})
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        sum(mapped[::4096])
        held = b"x" * (50 * 2**20)
        print('{{"kind":"ready"}}', flush=True)
        sys.stdin.read()
        """
    )
    _next(runner)

    assert 50 * 2**20 < runner.memory_bytes < 100 * 2**20


def test_a_dead_runner_holds_no_memory(start):
    runner = start("")
    runner._process.wait()

    assert runner.memory_bytes == 0


def test_ending_a_runner_ends_what_it_started_and_removes_its_folder(start):
    runner = start(
        """
        import subprocess, sys
        from worker.messages import Noticed, line_of
        from app.jobs.job import Notice
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        told = line_of(Noticed(notice=Notice(code="child", message=str(child.pid))))
        sys.stdout.buffer.write(told); sys.stdout.flush(); child.wait()
        """
    )
    child = int(_next(runner).notice.message)

    runner.end()

    assert not runner.is_alive
    assert not runner.folder.exists()
    _wait_until(lambda: not _is_running(child))


def _is_running(pid):
    if not _is_there(pid):
        return False
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def _wait_until(holds, *, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it should have happened by now"
        time.sleep(0.02)


@pytest.fixture
def pool(tmp_path):
    pool = RunnerPool(tmp_path / "work", spawn=_script(_PATIENT))
    yield pool
    pool.close()


def _runners_in(tmp_path):
    return len(list((tmp_path / "work").glob("runner-*")))


def test_the_spare_is_taken_and_another_made_ready(pool, tmp_path):
    pool.mend()
    spare = pool._spare

    with pool.take(weight_bytes=1000) as runner:
        assert runner is spare
        _wait_until(lambda: pool._spare is not None)
        assert pool._spare.is_alive
        assert _runners_in(tmp_path) == 2


def test_without_a_spare_a_runner_is_started(pool):
    with pool.take(weight_bytes=1000) as runner:
        assert _next(runner) == Ready()


def test_a_large_model_gets_a_runner_that_gives_memory_back_and_the_spare_stays(tmp_path):
    kind = """
        import os
        print('{"kind": "ready"}', os.environ.get("TF_ONEDNN_USE_SYSTEM_ALLOCATOR"), sep="\\n")
        input()
    """
    pool = RunnerPool(tmp_path / "work", spawn=_script(kind))
    pool.mend()
    spare = pool._spare

    with pool.take(weight_bytes=1 << 28) as large:
        assert pool._spare is spare
        told = [large._next_line(time.monotonic() + 20) for _ in range(2)]
    with pool.take(weight_bytes=(1 << 28) - 1) as small:
        assert small is spare
        told += [small._next_line(time.monotonic() + 20) for _ in range(2)]
    pool.close()

    assert told[1::2] == [b"1", b"None"]


def test_mending_twice_keeps_one_spare(pool, tmp_path):
    pool.mend()
    pool.mend()

    assert _runners_in(tmp_path) == 1


def _with_a_dead_spare(pool):
    pool.mend()
    dead = pool._spare
    os.kill(dead.pid, signal.SIGKILL)
    _wait_until(lambda: not dead.is_alive)
    return dead


def test_a_spare_that_died_is_replaced(pool):
    dead = _with_a_dead_spare(pool)

    pool.mend()

    assert pool._spare.is_alive
    assert not dead.folder.exists()


def test_a_spare_that_died_is_not_handed_out(pool):
    dead = _with_a_dead_spare(pool)

    with pool.take(weight_bytes=1000) as runner:
        assert _next(runner) == Ready()
        assert not dead.folder.exists()


def test_closing_the_pool_ends_the_spare(pool):
    pool.mend()
    spare = pool._spare

    pool.close()
    pool.mend()

    assert not spare.is_alive
    assert pool._spare is None
