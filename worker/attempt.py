"""One attempt at one job, from its files to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.jobs.artifacts import StoredArtifact
from app.jobs.errors import RefusedSpecError
from app.jobs.formats import SUFFIXES
from app.jobs.job import Job, Notice
from app.jobs.plan import plan
from app.jobs.result import ArtifactResult, JobResult, Uploaded
from app.jobs.spec import JobSpec
from app.jobs.uploads import StoredDataset, StoredModel
from worker.advice import advice
from worker.bundle import BUNDLE_NAME, Run, write_bundle
from worker.dialogue import Dialogue, out_of_turn
from worker.errors import RefusedError
from worker.event_files import event_file_name, write_event_file
from worker.job_files import JobFiles, moved
from worker.messages import (
    Pruned,
    PruneOrder,
    Translated,
    TranslateOrder,
    Verified,
    VerifyOrder,
    masks_path,
)
from worker.other_files import OtherFiles
from worker.runners import Runner, RunnerPool

_ARTIFACT = "model.keras"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What is done in one attempt, and in which order."""

    files: JobFiles
    dialogue: Dialogue
    runners: RunnerPool
    seconds_between_checkpoints: float

    @property
    def _job(self) -> Job:
        return self.files.claim.job

    def carry_out(self) -> Job:
        """Prune, verify, publish; return the job as it is then."""
        model, dataset = self.files.uploads()
        take = partial(self.runners.take, weight_bytes=model.summary.weight_bytes)
        translated = self._translated(model, take) if model.summary.changes_for_keras_3 else None
        with take() as runner:
            # Fetched while a runner that is not ready yet imports what it needs.
            asked = self._prune_order(model, dataset, translated, folder=runner.folder)
            pruned = self.dialogue.follow(runner, asked, answer=Pruned)
            kept = _moved_order(_verify_order(asked, pruned), to=self.files.folder)
        others = OtherFiles(take=take, dialogue=self.dialogue, source=kept)
        written = others.convert(form for form in kept.spec.artifacts if form != "keras")
        with take() as runner:
            order = _moved_order(kept, to=runner.folder)
            verified = self.dialogue.follow(runner, order, answer=Verified)
            self._take_compressed(verified.artifact, runner)
            masks = moved(masks_path(runner.folder), to=self.files.folder)
            _moved_order(order, to=self.files.folder)
        checked = others.check(written, pruned)
        self._note(others.faults)
        result = _result(pruned, verified, checked, model, kept.spec)
        self._note(advice(result, kept.spec, total_steps=asked.total_steps))
        run = Run(
            job=self._job,
            spec=asked.spec,
            model=model.summary,
            total_steps=asked.total_steps,
            result=result,
            masks=masks,
        )
        return self.files.publish(result, self._records(run))

    def _note(self, notices: Iterable[Notice]) -> None:
        if noted := tuple(notices):
            self.files.store.record(self.files.claim, notices=noted)

    def _translated(self, model: StoredModel, take: Callable[[], Runner]) -> Path:
        """Return the model of Keras 2 as one of Keras 3, out of every runner's reach."""
        with take() as runner:
            order = TranslateOrder(
                folder=runner.folder,
                model=self.files.fetched(model, runner.folder / "uploaded.h5"),
                translated=runner.folder / "translated.h5",
            )
            self.dialogue.follow(runner, order, answer=Translated)
            return moved(order.translated, to=self.files.folder)

    def _prune_order(
        self,
        model: StoredModel,
        dataset: StoredDataset | None,
        translated: Path | None,
        *,
        folder: Path,
    ) -> PruneOrder:
        try:
            planned = plan(self._job.spec, model.summary, dataset and dataset.summary)
        except RefusedSpecError as error:
            raise RefusedError(
                "spec_not_feasible",
                f"The spec cannot be carried out on this model and data: {error}.",
                hint="Change the fields that are named.",
            ) from error
        return PruneOrder(
            folder=folder,
            model=self.files.fetched(model, folder / f"uploaded.{model.summary.format}")
            if translated is None
            else moved(translated, to=folder),
            upload=self._upload_to_decode(dataset, folder),
            dataset=self._arrays(dataset, folder),
            artifact=folder / _ARTIFACT,
            reference=folder / "reference.npz",
            spec=planned.spec,
            total_steps=planned.total_steps,
            checkpoint=self.files.last_checkpoint(folder),
            seconds_between_checkpoints=self.seconds_between_checkpoints,
        )

    def _upload_to_decode(self, dataset: StoredDataset | None, folder: Path) -> Path | None:
        if dataset is None or dataset.summary.kind == "npz":
            return None
        return self.files.fetched(dataset, folder / f"uploaded-data.{dataset.summary.suffix}")

    def _arrays(self, dataset: StoredDataset | None, folder: Path) -> Path | None:
        """Return where the arrays are, or will be once they are decoded."""
        if dataset is None:
            return None
        path = folder / "dataset.npz"
        return self.files.fetched(dataset, path) if dataset.summary.kind == "npz" else path

    def _take_compressed(self, artifact: ArtifactResult, runner: Runner) -> None:
        if artifact.name != _ARTIFACT:
            raise out_of_turn()
        for compressed in artifact.compressed:
            moved(runner.folder / (_ARTIFACT + SUFFIXES[compressed.encoding]), to=self.files.folder)

    def _records(self, run: Run) -> list[StoredArtifact]:
        """Write what tells how the job went, and put it where callers find it."""
        bundle = self.files.folder / BUNDLE_NAME
        write_bundle(bundle, run)
        records = [self.files.recorded(bundle, form="bundle")]
        history = self.files.store.history(run.job.id)
        if history.steps:
            events = self.files.folder / event_file_name(run.job.id)
            assert run.job.started_at is not None, "it was claimed"
            write_event_file(
                events,
                history,
                steps_per_epoch=run.total_steps // run.spec.training.epochs,
                at=run.job.started_at,
            )
            records.append(self.files.recorded(events, form="tensorboard"))
        return records


def _verify_order(order: PruneOrder, pruned: Pruned) -> VerifyOrder:
    return VerifyOrder(
        folder=order.folder,
        dataset=order.dataset,
        artifact=order.artifact,
        reference=order.reference,
        spec=order.spec,
        pruned=pruned,
    )


def _moved_order(order: VerifyOrder, *, to: Path) -> VerifyOrder:
    """Return the order for the same files, moved to where their runner can reach them, or cannot.

    Raises:
        RunnerDiedError: the last one that could reach them took one away.
    """
    paths = {"dataset": order.dataset, "artifact": order.artifact, "reference": order.reference}
    there = {name: moved(path, to=to) for name, path in paths.items() if path is not None}
    return order.model_copy(update={"folder": to, **there})


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
