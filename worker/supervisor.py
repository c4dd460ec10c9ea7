"""One claimed job, from its files to its result; what happens to the runner is decided here.

It knows neither Celery nor Keras.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TypeVar

from app.jobs.artifacts import (
    ArtifactStore,
    StoredArtifact,
    StoredCheckpoint,
    artifact_key,
    checkpoint_key,
    checkpoints_prefix,
)
from app.jobs.claims import Claim
from app.jobs.errors import (
    BackendUnavailableError,
    DamagedFileError,
    LostClaimError,
    NotFoundError,
    RefusedSpecError,
    StorageFullError,
)
from app.jobs.formats import SUFFIXES
from app.jobs.job import Failure, Job, Notice, Stage
from app.jobs.plan import plan
from app.jobs.result import ArtifactResult, JobResult, Uploaded
from app.jobs.spec import JobSpec
from app.jobs.store import Store
from app.jobs.uploads import StoredDataset, StoredModel
from worker.bundle import BUNDLE_NAME, Run, write_bundle
from worker.errors import (
    CancelledError,
    PausedError,
    RefusedError,
    RunnerDiedError,
    RunnerStuckError,
    StoppedError,
)
from worker.event_files import event_file_name, write_event_file
from worker.messages import (
    Advanced,
    Checked,
    CheckOrder,
    Checkpointed,
    Converted,
    ConvertOrder,
    FileChecked,
    FileFailed,
    FileReport,
    FileWritten,
    Noticed,
    Order,
    Pruned,
    PruneOrder,
    Ready,
    Refused,
    Report,
    StageBegun,
    Verified,
    VerifyOrder,
    checkpoint_path,
    masks_path,
)
from worker.other_files import OtherFiles, moved
from worker.pulse import Pulse
from worker.runners import Runner, RunnerPool

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 0.2
#: Whoever pauses a job, or stops the worker, waits no longer than this for a training step to end
#: and be written down; if it does not, the last checkpoint stands.
_SECONDS_TO_WRITE_DOWN = 5.0
_ARTIFACT = "model.keras"

_CHECKPOINT_LOST = Notice(
    code="checkpoint_lost",
    message="What was written down of the training cannot be read any more; it began anew.",
)

_Answer = TypeVar("_Answer", Pruned, Verified, Converted, Checked)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long things may take."""

    lease: timedelta  #: How long a claim holds without a heartbeat.
    silence: timedelta  #: Longest time without a report.
    attempt: timedelta  #: Longest time for one attempt.
    memory_bytes: int  #: Most that a runner may hold.
    checkpoint: timedelta  #: From one checkpoint of a training to the next; the least it can lose.


class Supervisor:
    """Carries out claimed jobs, one after the other.

    Args:
        store: Where jobs are.
        artifacts: Where files are.
        runners: Who does the work.
        name: Of this worker, for the operator.
        folder: Where attempts have their working folders.
        bounds: How long things may take.
        stopping: Set when the worker goes down.
    """

    def __init__(  # noqa: PLR0913  (its collaborators, each once)
        self,
        store: Store,
        artifacts: ArtifactStore,
        runners: RunnerPool,
        *,
        name: str,
        folder: Path,
        bounds: Bounds,
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._runners = runners
        self._name = name
        self._folder = folder
        self._bounds = bounds
        self._stopping = stopping

    def attend(self, job_id: str) -> None:
        """Claim the job and carry it out, if there is anything to do and room for it.

        Without room the job stays where it is: the reaper calls again, every minute.
        """
        if self._stopping.is_set() or not self._has_room():
            return
        claim = self._store.claim(job_id, worker=self._name, lease=self._bounds.lease)
        if claim is not None:
            self.supervise(claim)

    def _has_room(self) -> bool:
        try:
            self._artifacts.require_room(0)
        except BackendUnavailableError as error:
            logger.warning("no job is taken: %s", error)
            return False
        return True

    def supervise(self, claim: Claim) -> None:
        """Carry out the job, and leave it succeeded, failed, cancelled, paused or queued again.

        A claim that was lost meanwhile is left to whoever holds it now.
        """
        pulse = Pulse(self._store, claim, lease=self._bounds.lease, stopping=self._stopping)
        try:
            with pulse:
                self._carry_out(claim, pulse)
        except LostClaimError:
            logger.warning("job %s, attempt %d: somebody else has it", claim.job.id, claim.attempt)
        finally:
            if not self._stopping.is_set():
                self._runners.refill()

    def _carry_out(self, claim: Claim, pulse: Pulse) -> None:
        if self._outcome(claim, pulse).status.is_final:
            self._forget_checkpoints(claim.job.id)

    def _outcome(self, claim: Claim, pulse: Pulse) -> Job:
        try:
            with self._working_folder(claim) as folder:
                return self._attempt(claim, pulse, folder).carry_out()
        except RefusedError as error:
            return self._store.fail(claim, error.failure)
        except CancelledError:
            return self._store.cancelled(claim)
        except (RunnerDiedError, StorageFullError, OSError) as error:
            logger.warning("job %s, attempt %d: %s", claim.job.id, claim.attempt, error)
            return self._store.hand_back(claim, _in_words(error))
        except (PausedError, StoppedError):
            return self._store.release(claim)
        except BackendUnavailableError as error:
            # Neither the job's fault nor the runner's; the reaper calls again, in seconds.
            logger.warning("job %s waits for the backend: %s", claim.job.id, error)
            return self._store.release(claim)

    def _attempt(self, claim: Claim, pulse: Pulse, folder: Path) -> _Attempt:
        return _Attempt(
            claim=claim,
            pulse=pulse,
            folder=folder,
            store=self._store,
            artifacts=self._artifacts,
            runners=self._runners,
            bounds=self._bounds,
            ends_at=time.monotonic() + self._bounds.attempt.total_seconds(),
        )

    def _forget_checkpoints(self, job_id: str) -> None:
        try:
            self._artifacts.delete_below(checkpoints_prefix(job_id))
        except BackendUnavailableError as error:
            logger.warning("checkpoints of job %s are left behind: %s", job_id, error)

    @contextmanager
    def _working_folder(self, claim: Claim) -> Generator[Path]:
        of_job = self._folder / claim.job.id
        # What a worker left behind that was killed.
        shutil.rmtree(of_job, ignore_errors=True)
        folder = of_job / str(claim.fence)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_if_empty(of_job)


def _in_words(error: RunnerDiedError | StorageFullError | OSError) -> str:
    match error:
        case RunnerDiedError():
            return str(error)
        case StorageFullError():
            return "The service's disk has no room for the files of the job."
        case OSError():
            return f"The worker cannot keep the files of the job ({error.strerror})."


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One attempt at one job."""

    claim: Claim
    pulse: Pulse
    folder: Path
    store: Store
    artifacts: ArtifactStore
    runners: RunnerPool
    bounds: Bounds
    ends_at: float  #: On the monotonic clock.

    def carry_out(self) -> Job:
        """Prune, verify, publish; return the job as it is then."""
        model, dataset = self._uploads()
        with self.runners.take() as runner:
            # Fetched while a runner that is not ready yet imports what it needs.
            asked = self._prune_order(model, dataset, folder=runner.folder)
            pruned = self._run(runner, asked, answer=Pruned)
            kept = _moved(_verify_order(asked, pruned), to=self.folder)
        others = OtherFiles(runners=self.runners, run=self._run_for_files, source=kept)
        written = others.convert(form for form in kept.spec.artifacts if form != "keras")
        with self.runners.take() as runner:
            order = _moved(kept, to=runner.folder)
            verified = self._run(runner, order, answer=Verified)
            self._take_compressed(verified.artifact, runner)
            masks = moved(masks_path(runner.folder), to=self.folder)
            _moved(order, to=self.folder)
        checked = others.check(written, pruned)
        self.store.record(self.claim, notices=others.faults)
        result = _result(pruned, verified, checked, model, kept.spec)
        run = Run(
            job=self.claim.job,
            spec=asked.spec,
            model=model.summary,
            total_steps=asked.total_steps,
            result=result,
            masks=masks,
        )
        return self._publish(result, self._records(run))

    def _uploads(self) -> tuple[StoredModel, StoredDataset | None]:
        job = self.claim.job
        try:
            model = self.store.model(job.model.id)
            dataset = None if job.dataset is None else self.store.dataset(job.dataset.id)
        except NotFoundError as error:
            raise _gone(error) from error
        return model, dataset

    def _prune_order(
        self, model: StoredModel, dataset: StoredDataset | None, *, folder: Path
    ) -> PruneOrder:
        job = self.claim.job
        try:
            planned = plan(job.spec, model.summary, dataset and dataset.summary)
        except RefusedSpecError as error:
            raise RefusedError(
                "spec_not_feasible",
                f"The spec cannot be carried out on this model and data: {error}.",
                hint="Change the fields that are named.",
            ) from error
        return PruneOrder(
            folder=folder,
            model=self._fetched(model, folder / f"uploaded.{model.summary.format}"),
            dataset=None if dataset is None else self._fetched(dataset, folder / "dataset.npz"),
            artifact=folder / _ARTIFACT,
            reference=folder / "reference.npz",
            spec=planned.spec,
            total_steps=planned.total_steps,
            checkpoint=self._last_checkpoint(folder),
            seconds_between_checkpoints=self.bounds.checkpoint.total_seconds(),
        )

    def _fetched(self, upload: StoredModel | StoredDataset, path: Path) -> Path:
        try:
            self._fetch(upload.key, path, sha256=upload.ref.sha256)
        except NotFoundError as error:
            raise _gone(error) from error
        except DamagedFileError as error:
            self._note_damage(error, upload.ref.id)
            raise RefusedError(
                "upload_damaged",
                f"What is stored of {upload.ref.filename} is not what was uploaded any more.",
                hint="Upload it again, and submit the job again.",
            ) from error
        return path

    def _last_checkpoint(self, folder: Path) -> Path | None:
        checkpoint = self.claim.checkpoint
        if checkpoint is None:
            return None
        path = folder / "resumed.weights.h5"
        try:
            self._fetch(checkpoint.key, path, sha256=checkpoint.sha256)
        except NotFoundError:
            return self._begin_anew()
        except DamagedFileError as error:
            self._note_damage(error, self.claim.job.id)
            return self._begin_anew()
        return path

    def _begin_anew(self) -> None:
        self.store.begin_anew(self.claim)
        self.store.record(self.claim, notices=(_CHECKPOINT_LOST,))

    def _fetch(self, key: str, path: Path, *, sha256: str) -> None:
        self.artifacts.fetch(key, path, sha256=sha256, between=self.pulse.check)

    def _note_damage(self, error: DamagedFileError, subject: str) -> None:
        logger.error("job %s: %s", self.claim.job.id, error)
        self.store.note_damage(self.claim, subject)

    def _run(
        self,
        runner: Runner,
        order: Order,
        *,
        answer: type[_Answer],
        on_file: Callable[[FileReport], None] | None = None,
    ) -> _Answer:
        if not isinstance(self._next_report(runner), Ready):
            raise _out_of_turn()
        runner.give(order)
        try:
            return self._answer_of(runner, answer, on_file)
        except (PausedError, StoppedError):
            self._have_written_down(runner)
            raise

    def _answer_of(
        self,
        runner: Runner,
        answer: type[_Answer],
        on_file: Callable[[FileReport], None] | None,
    ) -> _Answer:
        while True:
            match self._next_report(runner):
                case Refused(failure=failure):
                    raise _refusal(failure)
                case StageBegun() | Advanced() | Checkpointed() | Noticed() as update:
                    self._record(update, runner)
                case FileWritten() | FileChecked() | FileFailed() as update if on_file:
                    on_file(update)
                case outcome if isinstance(outcome, answer):
                    return outcome
                case _:
                    raise _out_of_turn()

    def _run_for_files(
        self,
        runner: Runner,
        order: ConvertOrder | CheckOrder,
        *,
        on_file: Callable[[FileReport], None],
    ) -> None:
        if isinstance(order, ConvertOrder):
            self._run(runner, order, answer=Converted, on_file=on_file)
        else:
            self._run(runner, order, answer=Checked, on_file=on_file)

    def _have_written_down(self, runner: Runner) -> None:
        """Ask a runner that trains for a checkpoint, and wait for it a little."""
        if self.store.job(self.claim.job.id).stage is not Stage.FINE_TUNING:
            return
        runner.ask_for_checkpoint()
        ends_at = time.monotonic() + _SECONDS_TO_WRITE_DOWN
        while (left := ends_at - time.monotonic()) > 0:
            update = runner.receive(timeout_seconds=left)
            if isinstance(update, Advanced | Checkpointed):
                self._record(update, runner)
            if not isinstance(update, Advanced):
                return

    def _next_report(self, runner: Runner) -> Report:
        silent_since = time.monotonic()
        while True:
            self.pulse.check()
            self._require_time_left(silent_since)
            self._require_memory_left(runner)
            report = runner.receive(timeout_seconds=_SECONDS_BETWEEN_CHECKS)
            if report is not None:
                return report

    def _require_memory_left(self, runner: Runner) -> None:
        held, bound = runner.memory_bytes, self.bounds.memory_bytes
        if held > bound:
            logger.warning("job %s: its runner held %d bytes", self.claim.job.id, held)
            raise RefusedError(
                "out_of_memory",
                f"The job took more memory than the operator allows ({bound / 2**30:.1f} GiB).",
                hint="Lower training.batch_size, or upload a smaller model.",
            )

    def _require_time_left(self, silent_since: float) -> None:
        now = time.monotonic()
        if now > self.ends_at:
            raise RefusedError(
                "timed_out",
                "The job took longer than the operator allows "
                f"({self.bounds.attempt.total_seconds():.0f} s).",
                hint="Train fewer epochs, or on fewer samples.",
            )
        silence = self.bounds.silence.total_seconds()
        if now - silent_since > silence:
            message = f"The process that prunes the model was silent for {silence:.0f} s."
            raise RunnerStuckError(message)

    def _record(
        self, update: StageBegun | Advanced | Checkpointed | Noticed, runner: Runner
    ) -> None:
        match update:
            case StageBegun(stage=stage):
                self.store.record(self.claim, stage=stage)
            case Noticed(notice=notice):
                self.store.record(self.claim, notices=(notice,))
            case Advanced(progress=progress, history=history):
                self.store.record(self.claim, progress=progress, history=history)
                # Now that the training is under way, the next runner can be imported.
                self.runners.refill()
            case Checkpointed():
                self._keep(update, runner)

    def _keep(self, reached: Checkpointed, runner: Runner) -> None:
        """Put what the runner wrote down where any worker finds it."""
        job_id, step = self.claim.job.id, reached.progress.step
        path = moved(checkpoint_path(runner.folder, step), to=self.folder)
        checkpoint = StoredCheckpoint(
            key=checkpoint_key(job_id, self.claim.fence, step),
            sha256=_sha256(path),
            progress=reached.progress,
        )
        try:
            self.artifacts.put(checkpoint.key, path)
        except BackendUnavailableError as error:
            # It only saves time should this attempt fail: for want of room, say, none has to.
            logger.warning("job %s, step %d: no checkpoint: %s", job_id, step, error)
            self.store.record(self.claim, progress=reached.progress, history=reached.history)
            return
        finally:
            path.unlink()
        try:
            former = self.store.reached(self.claim, checkpoint, history=reached.history)
        except LostClaimError:
            self.artifacts.delete(checkpoint.key)
            raise
        if former is not None:
            self.artifacts.delete(former.key)

    def _take_compressed(self, artifact: ArtifactResult, runner: Runner) -> None:
        if artifact.name != _ARTIFACT:
            raise _out_of_turn()
        for compressed in artifact.compressed:
            moved(runner.folder / (_ARTIFACT + SUFFIXES[compressed.encoding]), to=self.folder)

    def _records(self, run: Run) -> list[StoredArtifact]:
        """Write what tells how the job went, and put it where callers find it."""
        bundle = self.folder / BUNDLE_NAME
        write_bundle(bundle, run)
        records = [self._recorded(bundle, form="bundle")]
        history = self.store.history(run.job.id)
        if history.steps:
            events = self.folder / event_file_name(run.job.id)
            assert run.job.started_at is not None, "it was claimed"
            write_event_file(
                events,
                history,
                steps_per_epoch=run.total_steps // run.spec.training.epochs,
                at=run.job.started_at,
            )
            records.append(self._recorded(events, form="tensorboard"))
        return records

    def _recorded(self, path: Path, *, form: str) -> StoredArtifact:
        key = artifact_key(self.claim.job.id, self.claim.fence, path.name)
        self.artifacts.put(key, path)
        return StoredArtifact(
            name=path.name,
            key=key,
            format=form,
            bytes=path.stat().st_size,
            sha256=_sha256(path),
        )

    def _publish(self, result: JobResult, records: Sequence[StoredArtifact]) -> Job:
        stored = [self._stored(artifact) for artifact in result.artifacts]
        try:
            return self.store.succeed(self.claim, result, [*stored, *records])
        except LostClaimError:
            keys = chain.from_iterable(self._keys(each).values() for each in result.artifacts)
            for key in chain(keys, (record.key for record in records)):
                self.artifacts.delete(key)
            raise

    def _stored(self, artifact: ArtifactResult) -> StoredArtifact:
        """Put the file, and its compressed forms, where callers find them.

        Raises:
            RunnerDiedError: one is not what the runner said: it could never be read as that.
        """
        said = [artifact.sha256, *(each.sha256 for each in artifact.compressed)]
        for (name, key), sha256 in zip(self._keys(artifact).items(), said, strict=True):
            self.pulse.check()
            path = self.folder / name
            if _sha256(path) != sha256:
                message = f"The process that prunes the model left another {name} than it said."
                raise RunnerDiedError(message)
            self.artifacts.put(key, path)
        return StoredArtifact(
            name=artifact.name,
            key=artifact_key(self.claim.job.id, self.claim.fence, artifact.name),
            format=artifact.format,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
        )

    def _keys(self, artifact: ArtifactResult) -> dict[str, str]:
        """Return the keys of an artifact's files by their names."""
        suffixes = ("", *(SUFFIXES[each.encoding] for each in artifact.compressed))
        key = artifact_key(self.claim.job.id, self.claim.fence, artifact.name)
        return {artifact.name + suffix: key + suffix for suffix in suffixes}


def _verify_order(order: PruneOrder, pruned: Pruned) -> VerifyOrder:
    return VerifyOrder(
        folder=order.folder,
        dataset=order.dataset,
        artifact=order.artifact,
        reference=order.reference,
        spec=order.spec,
        pruned=pruned,
    )


def _moved(order: VerifyOrder, *, to: Path) -> VerifyOrder:
    """Return the order for the same files, moved to where their runner can reach them, or cannot.

    Raises:
        RunnerDiedError: the last one that could reach them took one away.
    """
    paths = {"dataset": order.dataset, "artifact": order.artifact, "reference": order.reference}
    there = {name: moved(path, to=to) for name, path in paths.items() if path is not None}
    return order.model_copy(update={"folder": to, **there})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _result(
    pruned: Pruned,
    verified: Verified,
    others: Iterable[ArtifactResult],
    model: StoredModel,
    spec: JobSpec,
) -> JobResult:
    artifacts = {each.format: each for each in (verified.artifact, *others)}
    asked = tuple(artifacts[form] for form in spec.artifacts if form in artifacts)
    if not asked:
        raise RefusedError(
            "verification_failed",
            "None of the files that were asked for holds; the warnings say why.",
            hint="Ask for keras in artifacts as well.",
        )
    measured = pruned.evaluated_on is not None
    return JobResult(
        baseline=pruned.baseline,
        pruned=verified.artifact.metrics if measured else None,
        evaluated_on=pruned.evaluated_on,
        sparsity=verified.sparsity,
        uploaded=Uploaded(
            bytes=model.ref.bytes,
            bytes_without_optimizer=model.ref.bytes - model.summary.optimizer_bytes,
        ),
        parameters=verified.parameters,
        layers=verified.layers,
        artifacts=asked,
    )


def _out_of_turn() -> RunnerDiedError:
    return RunnerDiedError("The process that prunes the model spoke out of turn.")


def _refusal(failure: Failure) -> RefusedError:
    return RefusedError(failure.code, failure.message, hint=failure.hint)


def _gone(error: NotFoundError) -> RefusedError:
    return RefusedError(
        "upload_gone",
        f"A file that the job needs is gone: {error}.",
        hint="Upload it again, and submit the job again.",
    )
