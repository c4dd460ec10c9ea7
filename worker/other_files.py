"""The files of a job besides ``model.keras``: one runner writes them, another checks them.

What ends a runner counts against the file that it was at, and not against the job: another runner
goes on with the rest.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.jobs.formats import FILE_NAMES, SUFFIXES, ArtifactFormat
from app.jobs.job import Notice
from app.jobs.result import ArtifactResult
from worker.dialogue import Dialogue, out_of_turn
from worker.errors import RefusedError, RunnerDiedError
from worker.job_files import moved
from worker.messages import (
    Checked,
    CheckOrder,
    Converted,
    ConvertedFile,
    ConvertOrder,
    FileChecked,
    FileFailed,
    FileReport,
    FileWritten,
    Pruned,
    VerifyOrder,
    dense_name,
)
from worker.runners import Runner


@dataclass(frozen=True, kw_only=True)
class OtherFiles:
    """What becomes of the formats that were asked for besides ``keras``.

    Args:
        take: Returns a runner to do the work.
        dialogue: How it is talked to.
        source: The order to verify the file that they are made from.
        faults: Filled with why some of them will not be published.
    """

    take: Callable[[], Runner]
    dialogue: Dialogue
    source: VerifyOrder
    faults: list[Notice] = field(default_factory=list)

    def convert(self, formats: Iterable[ArtifactFormat]) -> list[ConvertedFile]:
        """Have the files written into the folder of the source; return those that were."""
        waiting, written = list(formats), list[ConvertedFile]()
        while waiting:
            with self.take() as runner, self._lent(runner):
                order = ConvertOrder(
                    folder=runner.folder,
                    model=runner.folder / self.source.artifact.name,
                    dataset=self.source.dataset and runner.folder / self.source.dataset.name,
                    spec=self.source.spec,
                    formats=tuple(waiting),
                )
                receive = functools.partial(self._receive_written, runner, waiting, written)
                self._follow(runner, order, waiting, receive)
        return written

    def check(self, files: Iterable[ConvertedFile], pruned: Pruned) -> list[ArtifactResult]:
        """Have the files held against the pruned model; return the figures of those that hold."""
        waiting, checked = list(files), list[ArtifactResult]()
        while waiting:
            theirs = [path for file in waiting for path in (file.path, file.dense) if path]
            with self.take() as runner, self._lent(runner, theirs):
                order = CheckOrder(
                    folder=runner.folder,
                    model=runner.folder / self.source.artifact.name,
                    dataset=self.source.dataset and runner.folder / self.source.dataset.name,
                    reference=runner.folder / self.source.reference.name,
                    spec=self.source.spec,
                    pruned=pruned,
                    files=tuple(_in(runner.folder, file) for file in waiting),
                )
                formats: list[ArtifactFormat] = [file.format for file in waiting]
                receive = functools.partial(self._receive_checked, runner, formats, checked)
                self._follow(runner, order, formats, receive)
            waiting = [file for file in waiting if file.format in formats]
        return checked

    def _follow(
        self,
        runner: Runner,
        order: ConvertOrder | CheckOrder,
        waiting: list[ArtifactFormat],
        receive: Callable[[FileReport], None],
    ) -> None:
        """Have the order carried out, until all is reported or its runner gives out."""
        fault = "the process at work on it did not say what became of it"
        try:
            if isinstance(order, ConvertOrder):
                self.dialogue.follow(runner, order, answer=Converted, on_file=receive)
            else:
                self.dialogue.follow(runner, order, answer=Checked, on_file=receive)
        except (RunnerDiedError, RefusedError) as error:
            fault = _words(error)
        if waiting:
            self._give_up(waiting, fault)

    def _receive_written(
        self,
        runner: Runner,
        waiting: list[ArtifactFormat],
        written: list[ConvertedFile],
        report: FileReport,
    ) -> None:
        match report:
            case FileFailed(format=form, fault=fault) if waiting[:1] == [form]:
                self._give_up(waiting, fault)
            case FileWritten(format=form, remarks=remarks) if waiting[:1] == [form]:
                name = FILE_NAMES[form]
                path = self._taken(runner, name)
                twin = dense_name(form)
                dense = None if twin is None else self._taken(runner, twin)
                written.append(ConvertedFile(format=form, path=path, dense=dense, remarks=remarks))
                waiting.pop(0)
            case _:
                raise out_of_turn()

    def _receive_checked(
        self,
        runner: Runner,
        waiting: list[ArtifactFormat],
        checked: list[ArtifactResult],
        report: FileReport,
    ) -> None:
        match report:
            case FileFailed(format=form, fault=fault) if waiting[:1] == [form]:
                self._give_up(waiting, fault)
            case FileChecked(artifact=artifact) if _is_of(artifact, waiting[:1]):
                self._taken(runner, artifact.name)
                for compressed in artifact.compressed:
                    self._taken(runner, artifact.name + SUFFIXES[compressed.encoding])
                checked.append(artifact)
                waiting.pop(0)
            case _:
                raise out_of_turn()

    def _give_up(self, waiting: list[ArtifactFormat], fault: str) -> None:
        name = FILE_NAMES[waiting.pop(0)]
        message = f"{name} is not published: {fault.rstrip('.')}."
        self.faults.append(Notice(code="artifact_not_published", message=message))

    def _taken(self, runner: Runner, name: str) -> Path:
        return moved(runner.folder / name, to=self.source.folder)

    @contextmanager
    def _lent(self, runner: Runner, files: Sequence[Path] = ()) -> Generator[None]:
        """Lend the runner what it needs, and take back what it still has.

        The model and the answers it gets as copies: nothing that it does to them counts.
        """
        for path in (self.source.artifact, self.source.reference):
            shutil.copyfile(path, runner.folder / path.name)
        lent = [*files] if self.source.dataset is None else [self.source.dataset, *files]
        for path in lent:
            path.rename(runner.folder / path.name)
        try:
            yield
        finally:
            for path in lent:
                if not path.exists():
                    moved(runner.folder / path.name, to=path.parent)


def _in(folder: Path, file: ConvertedFile) -> ConvertedFile:
    dense = file.dense and folder / file.dense.name
    paths = {"path": folder / file.path.name, "dense": dense}
    return file.model_copy(update=paths)


def _is_of(artifact: ArtifactResult, waiting: Sequence[ArtifactFormat]) -> bool:
    expected = [(form, FILE_NAMES[form]) for form in waiting]
    return expected == [(artifact.format, artifact.name)]


def _words(error: RunnerDiedError | RefusedError) -> str:
    return error.failure.message if isinstance(error, RefusedError) else str(error)
