"""Supervision, with scripts in the place of runners: what is tested is what becomes of the job."""

import io
import sys
import textwrap
import threading
import zipfile
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.jobs.artifacts import ArtifactStore, checkpoints_prefix
from app.jobs.claims import Wish
from app.jobs.database import create_engine, reading
from app.jobs.errors import BackendUnavailableError
from app.jobs.job import JobStatus, Stage
from app.jobs.lanes import EVERY_LANE
from app.jobs.tables import audit
from worker.bounds import Bounds
from worker.runners import RunnerPool
from worker.spawning import by_command
from worker.supervisor import Supervisor

_BOUNDS = Bounds(
    lease=timedelta(seconds=30),
    silence=timedelta(seconds=30),
    job=timedelta(seconds=60),
    memory_bytes=2**30,
    checkpoint=timedelta(seconds=30),
)

#: What a well-behaved runner says, as functions for the scripts below.
_PRELUDE = """
import hashlib, json, os, sys, time
def say(**message): print(json.dumps(message), flush=True)
say(kind="ready")
order = json.loads(sys.stdin.readline())
"""
_SUCCESS = """
if order["kind"] == "prune":
    say(kind="stage", stage="validating")
    say(kind="notice", notice={"code": "loss_inferred", "message": "m"})
    say(kind="progress", progress={"step": 1, "total_steps": 1, "epoch": 1, "epochs": 1,
        "sparsity": 0.8, "eta_seconds": 0.0},
        history=[{"scope": "step", "columns": {"step": [1], "loss": [0.5]}}])
    open(order["artifact"], "wb").write(b"pruned")
    open(order["reference"], "wb").write(b"answers")
    say(kind="pruned", tensors=[], least_zeros=0, objective=None, baseline=None, evaluated_on=None)
else:
    say(kind="stage", stage="verifying")
    open("masks.npz", "wb").write(b"masks")
    say(kind="verified", sparsity=0.8, parameters={"total": 5, "prunable": 5, "nonzero": 1},
        layers=[], artifact={"name": "model.keras", "format": "keras", "bytes": 6,
        "compressed_bytes": 6, "sha256": hashlib.sha256(b"pruned").hexdigest(), "verified": True,
        "max_abs_error": 0.0, "metrics": {}, "latency_ms": 1.0})
"""


class _Worker:
    def __init__(self, house, script, *, bounds=_BOUNDS, artifacts=None):
        self.stopping = threading.Event()
        self.folder = house.folder / "work"
        command = (sys.executable, "-c", textwrap.dedent(script))
        self.runners = RunnerPool(self.folder, spawn=by_command(command))
        supervisor = Supervisor(
            house.store,
            artifacts or house.artifacts,
            self.runners,
            name="w1",
            lanes=EVERY_LANE,
            folder=self.folder,
            bounds=bounds,
            stopping=self.stopping,
        )
        self.supervise = supervisor.supervise
        self.attend = supervisor.attend


@pytest.fixture
def worker(house):
    workers = []

    def made(script, **options):
        workers.append(_Worker(house, script, **options))
        return workers[-1]

    yield made
    for each in workers:
        each.runners.close()


def test_a_job_succeeds_with_what_its_runners_report(house, worker):
    claim = house.claim()

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    job = house.store.job(claim.job.id)
    assert (job.status, job.failure) == (JobStatus.SUCCEEDED, None)
    assert job.result.sparsity == 0.8
    assert job.result.uploaded.bytes > job.result.uploaded.bytes_without_optimizer
    assert [notice.code for notice in job.warnings] == ["loss_inferred"]
    assert house.caller.history(job.id).steps == {"step": (1,), "loss": (0.5,)}
    stored = house.caller.artifact(job.id, "model.keras")
    assert b"".join(house.artifacts.stream(stored.key, sha256=stored.sha256)) == b"pruned"


def test_what_tells_of_the_run_is_published_beside_its_files(house, worker):
    claim = house.claim()

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    stored = {artifact.format: artifact for artifact in house.caller.artifacts(claim.job.id)}
    files = house.folder / "files"
    content = {form: (files / each.key).read_bytes() for form, each in stored.items()}
    assert set(stored) == {"keras", "bundle", "tensorboard"}
    with zipfile.ZipFile(io.BytesIO(content["bundle"])) as bundle:
        assert bundle.read("masks.npz") == b"masks"
    assert b"brain.Event:2" in content["tensorboard"]
    assert b"loss" in content["tensorboard"]


def test_a_step_without_a_number_is_no_report(house, worker):
    claim = house.claim()
    nameless = _SUCCESS.replace('"step": [1]', '"step": [None]')

    worker(_PRELUDE + nameless).supervise(claim)

    assert "no report" in house.store.job(claim.job.id).warnings[-1].message


def test_nothing_is_left_in_the_working_folder_but_the_spare(house, worker):
    claim = house.claim()
    one = worker(_PRELUDE + _SUCCESS)

    one.supervise(claim)

    [spare] = one.folder.iterdir()
    assert spare.name.startswith("runner-")


def test_a_refusal_fails_the_job_at_once_and_in_its_words(house, worker):
    claim = house.claim()
    script = _PRELUDE + 'say(kind="refused", failure={"code": "c", "message": "m", "hint": "h"})'

    worker(script).supervise(claim)

    job = house.store.job(claim.job.id)
    assert job.status is JobStatus.FAILED
    assert job.failure.model_dump() == {"code": "c", "message": "m", "hint": "h"}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(_PRELUDE + "os.kill(os.getpid(), 9)", "ran out of memory", id="killed"),
        pytest.param("import no_such_module", "could not start", id="cannot start"),
        pytest.param(_PRELUDE + 'say(kind="ready")', "out of turn", id="ready again"),
        pytest.param(
            _PRELUDE + 'say(kind="stage", stage="baseline"); ' + "print('[1]', flush=True)",
            "no report",
            id="nonsense",
        ),
        pytest.param(_PRELUDE.replace('"ready"', '"verified"'), "no report", id="not ready"),
    ],
)
def test_a_job_whose_runner_dies_is_tried_again_and_then_fails_with_words(
    house, worker, script, words
):
    job = house.submit()
    one = worker(script)

    statuses = []
    for _ in range(3):
        one.supervise(house.store.claim(job.id, worker="w1", lease=_BOUNDS.lease))
        statuses.append(house.store.job(job.id).status)

    assert statuses == [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.FAILED]
    failure = house.store.job(job.id).failure
    assert failure.code == "runner_died"
    assert words in failure.message


def test_a_silent_runner_is_ended_and_the_job_tried_again(house, worker):
    claim = house.claim()
    bounds = replace(_BOUNDS, silence=timedelta(seconds=0.5))

    worker(_PRELUDE + "time.sleep(60)", bounds=bounds).supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.QUEUED


def test_a_runner_that_writes_is_not_silent(house, worker):
    claim = house.claim()
    bounds = replace(_BOUNDS, silence=timedelta(seconds=2.5))
    writing = """
with open("large", "wb", buffering=0) as file:
    for _ in range(200):
        file.write(b"x")
        time.sleep(0.02)
"""

    worker(_PRELUDE + writing + _SUCCESS, bounds=bounds).supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.SUCCEEDED


def test_the_time_of_former_attempts_counts(house, worker):
    first = house.claim()
    house.store.heartbeat(first, lease=_BOUNDS.lease, worked=timedelta(seconds=59.5))
    house.store.release(first)
    claim = house.store.claim(first.job.id, worker="w1", lease=_BOUNDS.lease)

    worker(_PRELUDE + "time.sleep(60)").supervise(claim)

    assert house.store.job(claim.job.id).failure.code == "timed_out"


def test_what_was_worked_is_written_down_while_it_is(house, worker):
    claim = house.claim()
    bounds = replace(_BOUNDS, lease=timedelta(seconds=0.3), silence=timedelta(seconds=0.5))

    worker(_PRELUDE + "time.sleep(60)", bounds=bounds).supervise(claim)

    again = house.store.claim(claim.job.id, worker="w2", lease=_BOUNDS.lease)
    assert again.worked.total_seconds() > 0.1


def test_a_job_that_takes_too_long_fails(house, worker):
    claim = house.claim()
    bounds = replace(_BOUNDS, job=timedelta(seconds=0.5))

    worker(_PRELUDE + "time.sleep(60)", bounds=bounds).supervise(claim)

    assert house.store.job(claim.job.id).failure.code == "timed_out"


def test_a_runner_that_takes_more_memory_than_it_may_is_ended(house, worker):
    claim = house.claim()
    bounds = replace(_BOUNDS, memory_bytes=100 * 2**20)

    worker(_PRELUDE + "held = b'x' * 200_000_000; time.sleep(60)", bounds=bounds).supervise(claim)

    failure = house.store.job(claim.job.id).failure
    assert failure.code == "out_of_memory"
    assert "0.1 GiB" in failure.message


def test_a_runner_that_never_stops_talking_is_bounded_all_the_same(house, worker):
    claim = house.claim()
    bounds = replace(_BOUNDS, job=timedelta(seconds=1))
    chatter = 'while True: say(kind="stage", stage="baseline")'

    worker(_PRELUDE + chatter, bounds=bounds).supervise(claim)

    assert house.store.job(claim.job.id).failure.code == "timed_out"


def test_files_are_handed_from_one_runner_to_the_next(house, worker, samples):
    claim = house.claim(dataset=samples)
    looks = """
files = sorted(os.listdir(order["folder"]))
assert os.path.samefile(order["folder"], "."), "a runner works in its own folder"
if order["kind"] == "verify":
    assert files == ["dataset.npz", "log", "model.keras", "reference.npz"], files
"""

    worker(_PRELUDE + looks + _SUCCESS).supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    "instead",
    [
        pytest.param("", id="nothing"),
        pytest.param('os.symlink("/etc/passwd", order["artifact"])', id="a link to elsewhere"),
        pytest.param('os.mkfifo(order["artifact"])', id="a pipe that nobody writes to"),
    ],
)
def test_what_is_no_file_is_not_published(house, worker, instead):
    claim = house.claim()
    script = _SUCCESS.replace('open(order["artifact"], "wb").write(b"pruned")', instead or "pass")

    worker(_PRELUDE + script).supervise(claim)

    job = house.store.job(claim.job.id)
    assert job.status is JobStatus.QUEUED
    assert "left no file 'model.keras'" in job.warnings[-1].message


def _in_the_middle(house, job_id, action):
    """Do ``action`` once the job is under way."""

    def wait_and_act():
        while house.store.job(job_id).stage is not Stage.BASELINE:
            pass
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


_ENDLESS = _PRELUDE + 'say(kind="stage", stage="baseline"); time.sleep(60)'


def test_a_cancelled_job_stops_in_the_middle(house, worker):
    claim = house.claim()
    caller = _in_the_middle(house, claim.job.id, lambda: house.caller.request_cancel(claim.job.id))

    worker(_ENDLESS).supervise(claim)
    caller.join()

    assert house.store.job(claim.job.id).status is JobStatus.CANCELLED


def test_a_stopping_worker_hands_its_job_back_without_counting_the_attempt(house, worker):
    claim = house.claim()
    one = worker(_ENDLESS)
    operator = _in_the_middle(house, claim.job.id, one.stopping.set)

    one.supervise(claim)
    operator.join()

    again = house.store.claim(claim.job.id, worker="w2", lease=_BOUNDS.lease)
    assert again.attempt == 1


def test_a_job_that_somebody_else_has_taken_is_left_to_them(house, worker):
    claim = house.store.claim(house.submit().id, worker="w1", lease=timedelta(seconds=-1))
    other = house.store.claim(claim.job.id, worker="w2", lease=_BOUNDS.lease)

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    job = house.store.job(claim.job.id)
    assert (job.status, job.stage) == (JobStatus.RUNNING, None)
    assert house.store.heartbeat(other, lease=_BOUNDS.lease) is Wish.GO_ON


def test_a_spec_that_does_not_fit_the_model_fails_with_its_pointer(house, worker):
    claim = house.claim('{"layers": [{"match": "no_such_layer", "skip": true}]}')

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    failure = house.store.job(claim.job.id).failure
    assert failure.code == "spec_not_feasible"
    assert "/layers/0/match" in failure.message


def test_a_file_that_is_gone_fails_the_job_with_words(house, worker):
    claim = house.claim()
    house.artifacts.delete(house.store.model(claim.job.model.id).key)

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    assert house.store.job(claim.job.id).failure.code == "upload_gone"


@pytest.mark.parametrize("which", ["model", "dataset"])
def test_an_upload_with_a_flipped_bit_is_not_given_to_a_runner(house, worker, samples, which):
    claim = house.claim(dataset=samples)
    upload = getattr(house.store, which)(getattr(claim.job, which).id)
    path = house.folder / "files" / upload.key
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    job = house.store.job(claim.job.id)
    assert job.failure.code == "upload_damaged"
    assert upload.ref.filename in job.failure.message
    assert _damaged(house) == [upload.ref.id]


def _damaged(house):
    """Return the ids of what is noted to be damaged."""
    engine = create_engine(house.url)
    with reading(engine) as connection:
        noted = select(audit.c.subject).where(audit.c.action == "damage_found")
        found = list(connection.scalars(noted))
    engine.dispose()
    return found


def test_a_job_whose_heart_stops_beating_is_left_to_whoever_holds_it_next(
    house, worker, monkeypatch
):
    claim = house.claim()

    def broken(*_, **__):
        message = "nobody thought of this"
        raise RuntimeError(message)

    monkeypatch.setattr(house.store, "heartbeat", broken)
    worker(_PRELUDE + _TRAINS + "time.sleep(60)").supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.RUNNING


def test_a_file_that_is_not_what_its_runner_said_is_not_published(house, worker):
    claim = house.claim()
    lies = _SUCCESS.replace('sha256(b"pruned")', 'sha256(b"another")')

    worker(_PRELUDE + lies).supervise(claim)

    job = house.store.job(claim.job.id)
    assert job.status is JobStatus.QUEUED
    assert "left another model.keras than it said" in job.warnings[-1].message


class _AwayStore:
    def fetch(self, *_, **__):
        message = "the artifact store does not answer"
        raise BackendUnavailableError(message)


def test_a_job_waits_for_files_that_cannot_be_reached(house, worker):
    claim = house.claim()

    worker(_PRELUDE + _SUCCESS, artifacts=_AwayStore()).supervise(claim)

    again = house.store.claim(claim.job.id, worker="w2", lease=_BOUNDS.lease)
    assert again.attempt == 1


def test_a_worker_that_cannot_reach_the_database_leaves_the_job_to_its_lease(
    house, worker, monkeypatch
):
    claim = house.claim()

    def away(*_, **__):
        message = "the database does not answer"
        raise BackendUnavailableError(message)

    for call in ("succeed", "release"):
        monkeypatch.setattr(house.store, call, away)

    worker(_PRELUDE + _SUCCESS).supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.RUNNING


#: Trains until the supervisor says something, and then writes that down.
_TRAINS = """
def progress(step):
    return {"step": step, "total_steps": 9, "epoch": 1, "epochs": 1, "sparsity": 0.5,
        "eta_seconds": None}
def write_down(step, content):
    path = os.path.join(order["folder"], f"checkpoint-{step}.weights.h5")
    open(path, "wb").write(content)
    say(kind="checkpoint", progress=progress(step),
        history=[{"scope": "step", "columns": {"step": [step]}}])
"""
_UNTIL_ASKED = """
say(kind="stage", stage="fine_tuning")
say(kind="progress", progress=progress(1), history=[{"scope": "step", "columns": {"step": [1]}}])
assert os.read(0, 1)
write_down(2, b"weights")
time.sleep(60)
"""
_GOES_ON = """
if order["kind"] == "prune":
    assert open(order["checkpoint"], "rb").read() == b"weights"
"""


def _once_trained(house, job_id, action):
    """Do ``action`` once the training is under way."""

    def wait_and_act():
        while house.store.job(job_id).progress is None:
            pass
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


@pytest.fixture
def set_down(house, worker):
    """Return a paused job, and the worker that set it down."""
    claim = house.claim()
    one = worker(_PRELUDE + _TRAINS + _UNTIL_ASKED)
    caller = _once_trained(house, claim.job.id, lambda: house.caller.request_pause(claim.job.id))
    one.supervise(claim)
    caller.join()
    return house.store.job(claim.job.id)


def test_a_paused_job_is_written_down_first(house, set_down):
    assert set_down.status is JobStatus.PAUSED
    assert set_down.progress.step == 2
    assert house.caller.history(set_down.id).steps["step"] == (1, 2)


def test_a_resumed_job_goes_on_from_there_on_any_worker(house, worker, set_down):
    house.caller.resume(set_down.id)
    claim = house.store.claim(set_down.id, worker="w2", lease=_BOUNDS.lease)

    worker(_PRELUDE + _GOES_ON + _SUCCESS).supervise(claim)

    assert house.store.job(set_down.id).status is JobStatus.SUCCEEDED
    assert _checkpoints(house, set_down.id) == []


def _checkpoints(house, job_id):
    folder = house.folder / "files" / checkpoints_prefix(job_id)
    return [path.name for path in folder.glob("*")]


def test_a_stopping_worker_has_its_job_written_down(house, worker):
    claim = house.claim()
    one = worker(_PRELUDE + _TRAINS + _UNTIL_ASKED)
    operator = _once_trained(house, claim.job.id, one.stopping.set)

    one.supervise(claim)
    operator.join()

    job = house.store.job(claim.job.id)
    assert (job.status, job.progress.step) == (JobStatus.QUEUED, 2)


def test_who_pauses_waits_no_longer_than_a_moment_for_a_training_that_hangs(
    house, worker, monkeypatch
):
    monkeypatch.setattr("worker.dialogue._SECONDS_TO_WRITE_DOWN", 0.2)
    claim = house.claim()
    hangs = _UNTIL_ASKED.replace("write_down", "time.sleep(60); write_down")
    caller = _once_trained(house, claim.job.id, lambda: house.caller.request_pause(claim.job.id))

    worker(_PRELUDE + _TRAINS + hangs).supervise(claim)
    caller.join()

    job = house.store.job(claim.job.id)
    assert (job.status, job.progress) == (JobStatus.PAUSED, None)


def test_a_job_that_does_not_train_is_paused_at_once(house, worker):
    claim = house.claim()
    caller = _in_the_middle(house, claim.job.id, lambda: house.caller.request_pause(claim.job.id))

    worker(_ENDLESS).supervise(claim)
    caller.join()

    assert house.store.job(claim.job.id).status is JobStatus.PAUSED


def test_of_the_checkpoints_of_a_job_the_last_is_kept(house, worker):
    claim = house.claim()
    dies = 'write_down(3, b"three"); write_down(5, b"five"); os.kill(os.getpid(), 9)'

    worker(_PRELUDE + _TRAINS + dies).supervise(claim)

    assert house.store.job(claim.job.id).progress.step == 5
    assert _checkpoints(house, claim.job.id) == ["1-5"]


def test_a_job_that_fails_leaves_no_checkpoint(house, worker):
    claim = house.claim()
    fails = 'say(kind="refused", failure={"code": "c", "message": "m", "hint": "h"})'

    worker(_PRELUDE + _TRAINS + 'write_down(3, b"three");' + fails).supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.FAILED
    assert _checkpoints(house, claim.job.id) == []


@pytest.mark.parametrize("content", [None, b"weighty"], ids=["gone", "changed"])
def test_a_checkpoint_that_cannot_be_read_makes_the_job_begin_anew(
    house, worker, set_down, content
):
    [path] = (house.folder / "files" / checkpoints_prefix(set_down.id)).glob("*")
    path.unlink() if content is None else path.write_bytes(content)
    house.caller.resume(set_down.id)
    claim = house.store.claim(set_down.id, worker="w2", lease=_BOUNDS.lease)

    begins = 'assert order.get("checkpoint") is None'
    worker(_PRELUDE + begins + _SUCCESS).supervise(claim)

    job = house.store.job(set_down.id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.warnings[0].code == "checkpoint_lost"
    assert house.caller.history(job.id).steps["step"] == (1,)
    assert _damaged(house) == ([] if content is None else [job.id])


class _FullStore(ArtifactStore):
    def put(self, key, path):
        if "checkpoints" in key:
            message = "the artifact store does not answer"
            raise BackendUnavailableError(message)
        super().put(key, path)


def test_a_job_for_whose_checkpoints_there_is_no_room_goes_on(house, worker):
    claim = house.claim()
    full = _FullStore((house.folder / "files").as_uri())
    writes = 'if order["kind"] == "prune": write_down(1, b"one")'

    worker(_PRELUDE + _TRAINS + writes + _SUCCESS, artifacts=full).supervise(claim)

    assert house.store.job(claim.job.id).status is JobStatus.SUCCEEDED


def test_a_worker_without_room_for_the_files_hands_the_job_back(house, worker, monkeypatch):
    claim = house.claim()

    def run_out_of_room(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.job_files.JobFiles._fetch", run_out_of_room)
    worker(_PRELUDE + _SUCCESS).supervise(claim)

    job = house.store.job(claim.job.id)
    assert job.status is JobStatus.QUEUED
    assert "(No space left on device)" in job.warnings[0].message


def _full(house):
    return ArtifactStore((house.folder / "files").as_uri(), keep_free_bytes=2**62)


def test_a_job_whose_files_find_no_room_fails_with_words(house, worker):
    job = house.submit()
    one = worker(_PRELUDE + _SUCCESS, artifacts=_full(house))

    for _ in range(3):
        one.supervise(house.store.claim(job.id, worker="w1", lease=_BOUNDS.lease))

    after = house.store.job(job.id)
    assert after.status is JobStatus.FAILED
    assert "disk has no room" in after.failure.message


def test_with_a_full_disk_no_job_is_begun(house, worker):
    job = house.submit()

    worker(_PRELUDE + _SUCCESS, artifacts=_full(house)).attend()

    assert house.store.job(job.id) == job


def test_each_call_takes_the_job_that_is_next_and_no_more(house, worker):
    jobs = [house.submit(), house.submit('{"priority": 1}')]
    one = worker(_PRELUDE + _SUCCESS)

    one.attend()

    assert house.store.job(jobs[1].id).status is JobStatus.SUCCEEDED
    assert house.store.job(jobs[0].id).status is JobStatus.QUEUED


def test_a_job_whose_runner_died_is_taken_again_by_the_same_call(house, worker):
    job, next_one = house.submit(), house.submit()
    dies_once = f"""
        import pathlib
        been_here = pathlib.Path({str(house.folder / "been_here")!r})
        if not been_here.exists():
            been_here.touch()
            os.kill(os.getpid(), 9)
    """
    one = worker(_PRELUDE + textwrap.dedent(dies_once) + _SUCCESS)

    one.attend()

    after = house.store.job(job.id)
    assert after.status is JobStatus.SUCCEEDED
    assert [notice.code for notice in after.warnings].count("tried_again") == 1
    assert house.store.job(next_one.id).status is JobStatus.QUEUED


def test_a_job_that_waits_for_a_backend_is_not_taken_again_at_once(house, worker, monkeypatch):
    job = house.submit()
    tries = []

    def away(*_, **__):
        tries.append(1)
        message = "the artifact store does not answer"
        raise BackendUnavailableError(message)

    monkeypatch.setattr(house.artifacts, "fetch", away)
    worker(_PRELUDE + _SUCCESS).attend()

    assert house.store.job(job.id).status is JobStatus.QUEUED
    assert len(tries) == 1


def test_a_spare_that_cannot_be_started_is_no_failure(worker):
    one = worker(_PRELUDE + _SUCCESS)
    one.folder.write_text("where runners should have their folders")

    one.runners.mend()

    one.folder.unlink()
    one.runners.mend()
    assert list(one.folder.iterdir())
