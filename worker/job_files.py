"""The files of one attempt at a job, on their way from the store and to it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from app.jobs.artifacts import (
    ArtifactStore,
    StoredArtifact,
    StoredCheckpoint,
    artifact_key,
    checkpoint_key,
)
from app.jobs.claims import Claim
from app.jobs.errors import (
    BackendUnavailableError,
    DamagedFileError,
    LostClaimError,
    NotFoundError,
)
from app.jobs.formats import SUFFIXES
from app.jobs.job import Job, Notice
from app.jobs.result import ArtifactResult, JobResult
from app.jobs.store import Store
from app.jobs.uploads import StoredDataset, StoredModel
from worker.errors import RefusedError, RunnerDiedError
from worker.messages import Checkpointed, checkpoint_path
from worker.pulse import Pulse

logger = logging.getLogger(__name__)

_CHECKPOINT_LOST = Notice(
    code="checkpoint_lost",
    message="What was written down of the training cannot be read any more; it began anew.",
)


@dataclass(frozen=True, kw_only=True)
class JobFiles:
    """Fetches what an attempt needs, checked against its digest, and keeps what comes of it."""

    claim: Claim
    pulse: Pulse
    folder: Path  #: Out of every runner's reach.
    store: Store
    artifacts: ArtifactStore

    def uploads(self) -> tuple[StoredModel, StoredDataset | None]:
        """Return what the job's model and data are stored as.

        Raises:
            RefusedError: one is gone.
        """
        job = self.claim.job
        try:
            model = self.store.model(job.model.id)
            dataset = None if job.dataset is None else self.store.dataset(job.dataset.id)
        except NotFoundError as error:
            raise _gone(error) from error
        return model, dataset

    def fetched(self, upload: StoredModel | StoredDataset, path: Path) -> Path:
        """Return ``path`` with the upload at it.

        Raises:
            RefusedError: it is gone, or not what was uploaded any more.
        """
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

    def last_checkpoint(self, folder: Path) -> Path | None:
        """Return what was last written down of the training, fetched into ``folder``.

        ``None`` where there is nothing, or nothing that can be read any more.
        """
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

    def keep(self, reached: Checkpointed, *, folder: Path) -> None:
        """Put what a runner wrote down in its ``folder`` where any worker finds it."""
        job_id, step = self.claim.job.id, reached.progress.step
        path = moved(checkpoint_path(folder, step), to=self.folder)
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

    def recorded(self, path: Path, *, form: str) -> StoredArtifact:
        """Put a file that tells how the job went where callers find it."""
        key = artifact_key(self.claim.job.id, self.claim.fence, path.name)
        self.artifacts.put(key, path)
        return StoredArtifact(
            name=path.name,
            key=key,
            format=form,
            bytes=path.stat().st_size,
            sha256=_sha256(path),
        )

    def publish(self, result: JobResult, records: Sequence[StoredArtifact]) -> Job:
        """Put the artifacts where callers find them; return the job, succeeded.

        Raises:
            RunnerDiedError: a file is not what the runner said.
            LostClaimError: somebody else has the job; nothing is left behind.
        """
        stored = [self._stored(artifact) for artifact in result.artifacts]
        try:
            return self.store.succeed(self.claim, result, [*stored, *records])
        except LostClaimError:
            keys = chain.from_iterable(self._keys(each).values() for each in result.artifacts)
            for key in chain(keys, (record.key for record in records)):
                self.artifacts.delete(key)
            raise

    def _stored(self, artifact: ArtifactResult) -> StoredArtifact:
        """Put the file, and its compressed forms, where callers find them."""
        said = [artifact.sha256, *(each.sha256 for each in artifact.compressed)]
        for (name, key), sha256 in zip(self._keys(artifact).items(), said, strict=True):
            self.pulse.check()
            path = self.folder / name
            if _sha256(path) != sha256:  # it could never be read as that
                message = f"The process that prunes the model left another {name} than it said."
                raise RunnerDiedError(message)
            self.artifacts.put(key, path)
        return StoredArtifact(
            name=artifact.name,
            key=artifact_key(self.claim.job.id, self.claim.fence, artifact.name),
            format=artifact.format,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
            compressed_bytes=sum(each.bytes for each in artifact.compressed),
        )

    def _keys(self, artifact: ArtifactResult) -> dict[str, str]:
        """Return the keys of an artifact's files by their names."""
        suffixes = ("", *(SUFFIXES[each.encoding] for each in artifact.compressed))
        key = artifact_key(self.claim.job.id, self.claim.fence, artifact.name)
        return {artifact.name + suffix: key + suffix for suffix in suffixes}


def moved(path: Path, *, to: Path) -> Path:
    """Move a file out of a runner's reach.

    Raises:
        RunnerDiedError: it is not there, or no file any more.
    """
    if path.is_symlink() or not path.is_file():
        message = f"The process that prunes the model left no file {path.name!r} behind."
        raise RunnerDiedError(message)
    return path.rename(to / path.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gone(error: NotFoundError) -> RefusedError:
    return RefusedError(
        "upload_gone",
        f"A file that the job needs is gone: {error}.",
        hint="Upload it again, and submit the job again.",
    )
