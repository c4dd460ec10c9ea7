"""Files of other formats, with scripts in the place of runners: what becomes of each of them."""

import sys
import textwrap
import threading
from datetime import timedelta

import pytest

from app.jobs.job import JobStatus
from app.jobs.lanes import EVERY_LANE
from worker.bounds import Bounds
from worker.runners import RunnerPool
from worker.spawning import by_command
from worker.supervisor import Supervisor

_BOUNDS = {
    "lease": timedelta(seconds=30),
    "silence": timedelta(seconds=30),
    "job": timedelta(seconds=60),
    "memory_bytes": 2**30,
    "checkpoint": timedelta(seconds=30),
}

#: Runners that do as they are told, but for what ``misbehave(form, at)`` does.
_SCRIPT = """
import hashlib, json, os, sys
def digest(content): return hashlib.sha256(content).hexdigest()
def say(**message): print(json.dumps(message), flush=True)
def write(path, content): open(path, "wb").write(content)
def misbehave(form, at): pass
{misbehaviour}
def figures(name, form, **more):
    content = b"pruned" if form == "keras" else form.encode()
    return {{"name": name, "format": form, "bytes": 6, "compressed_bytes": 6,
        "sha256": digest(content), "verified": True, "max_abs_error": 0.0, "metrics": {{}},
        "latency_ms": 1.0}} | more

say(kind="ready")
order = json.loads(sys.stdin.readline())
if order["kind"] == "prune":
    write(order["artifact"], b"pruned")
    write(order["reference"], b"answers")
    say(kind="pruned", tensors=[], least_zeros=0, objective=None, baseline=None, evaluated_on=None)
elif order["kind"] == "verify":
    open("masks.npz", "wb").write(b"masks")
    say(kind="verified", sparsity=0.8, parameters={{"total": 5, "prunable": 5, "nonzero": 1}},
        layers=[], artifact=figures("model.keras", "keras"))
elif order["kind"] == "convert":
    assert open(order["model"], "rb").read() == b"pruned"
    names = {{"litert": "model.tflite", "onnx": "model.onnx", "litert_int8": "model.int8.tflite"}}
    for form in order["formats"]:
        if misbehave(form, "convert"):
            continue
        for name in (names[form], "dense." + names[form]):
            write(os.path.join(order["folder"], name), form.encode())
        say(kind="file_written", format=form, remarks=[])
    say(kind="converted")
else:
    for file in order["files"]:
        if misbehave(file["format"], "check"):
            continue
        assert open(file["path"], "rb").read() == file["format"].encode()
        assert os.path.exists(file["dense"])
        write(file["path"] + ".gz", b"packed")
        compressed = [{{"encoding": "gzip", "bytes": 6, "sha256": digest(b"packed")}}]
        name = os.path.basename(file["path"])
        say(kind="file_checked", artifact=figures(name, file["format"], compressed=compressed))
    say(kind="checked")
"""
_SPEC = '{"artifacts": ["litert", "keras", "onnx", "litert_int8"]}'


@pytest.fixture
def finished(house):
    """Carry out a job with runners that misbehave, and return it as it is then."""
    pools = []

    def finish(misbehaviour="", *, spec=_SPEC, dataset=None):
        script = _SCRIPT.format(misbehaviour=textwrap.dedent(misbehaviour))
        pools.append(
            RunnerPool(house.folder / "work", spawn=by_command((sys.executable, "-c", script)))
        )
        claim = house.claim(spec, dataset=dataset)
        Supervisor(
            house.store,
            house.artifacts,
            pools[-1],
            name="w1",
            lanes=EVERY_LANE,
            folder=house.folder / "work",
            bounds=Bounds(**_BOUNDS),
            stopping=threading.Event(),
        ).supervise(claim)
        return house.store.job(claim.job.id)

    yield finish
    for pool in pools:
        pool.close()


def _published(job):
    return [artifact.format for artifact in job.result.artifacts]


def test_every_file_that_was_asked_for_is_published_in_that_order(house, finished):
    job = finished()

    assert job.status is JobStatus.SUCCEEDED, job.failure
    assert _published(job) == ["litert", "keras", "onnx", "litert_int8"]
    stored = {each.name: each for each in house.caller.artifacts(job.id)}
    files = house.folder / "files"
    assert (files / stored["model.onnx"].key).read_bytes() == b"onnx"
    assert (files / (stored["model.onnx"].key + ".gz")).read_bytes() == b"packed"


def test_keras_is_published_only_if_it_was_asked_for(house, finished):
    job = finished(spec='{"artifacts": ["onnx"]}')

    assert _published(job) == ["onnx"]
    files = {each.name for each in house.caller.artifacts(job.id)}
    assert files == {"bundle.zip", "model.onnx"}


@pytest.mark.parametrize("at", ["convert", "check"])
@pytest.mark.parametrize(
    ("act", "words"),
    [
        pytest.param(
            'say(kind="file_failed", format=form, fault="it is wrong"); return True',
            "model.onnx is not published: it is wrong.",
            id="a fault that was found",
        ),
        pytest.param(
            "os.kill(os.getpid(), 11)",
            "model.onnx is not published: The process that pruned the model crashed (SIGSEGV).",
            id="a crash",
        ),
        pytest.param(
            'say(kind="refused", failure={"code": "c", "message": "No.", "hint": "h"})',
            "model.onnx is not published: No.",
            id="a refusal",
        ),
    ],
)
def test_what_goes_wrong_with_one_file_is_told_and_costs_no_other(
    finished, samples, at, act, words
):
    misbehaviour = f"""
    def misbehave(form, at):
        if (form, at) == ("onnx", {at!r}):
            {act}
    """

    job = finished(misbehaviour, dataset=samples)

    assert job.status is JobStatus.SUCCEEDED, job.failure
    assert _published(job) == ["litert", "keras", "litert_int8"]
    [warning] = [each for each in job.warnings if each.code == "artifact_not_published"]
    assert warning.message == words


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param('say(kind="file_written", format=form, remarks=[])', id="a file not there"),
        pytest.param(
            'say(kind="file_checked", artifact=figures("../../x", form))', id="a name of its own"
        ),
        pytest.param('say(kind="converted")', id="done, with nothing done"),
    ],
)
def test_a_runner_is_not_believed(finished, lie):
    misbehaviour = f"""
    def misbehave(form, at):
        if form == "onnx":
            {lie}
            return True
    """

    job = finished(misbehaviour)

    assert job.status is JobStatus.SUCCEEDED, job.failure
    assert "onnx" not in _published(job)


def test_what_a_converter_does_to_the_model_does_not_count(house, finished):
    job = finished('def misbehave(form, at): write("model.keras", b"another")')

    stored = house.caller.artifact(job.id, "model.keras")
    assert (house.folder / "files" / stored.key).read_bytes() == b"pruned"


def test_a_job_of_which_no_file_holds_has_failed(finished):
    job = finished("def misbehave(form, at): sys.exit(1)", spec='{"artifacts": ["onnx"]}')

    assert job.status is JobStatus.FAILED
    assert job.failure.code == "verification_failed"
    assert [each.code for each in job.warnings if "onnx" in each.message] == [
        "artifact_not_published"
    ]
