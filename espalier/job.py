"""One job, as whoever submitted it follows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import httpx2

from espalier.connection import Body, Connection
from espalier.display import show
from espalier.downloads import download
from espalier.errors import (
    JobCancelledError,
    JobFailedError,
    RefusedError,
    StillRunningError,
    UnreachableError,
)
from espalier.records import Artifact, Event, History, JobState, Moment, Progress

_POLL_SECONDS = 0.5
_EVENTS_AT_ONCE = 1000
#: How often the history of a training is asked for at most; and at most this share of the time.
_SECONDS_BETWEEN_LOSSES = 1.0
_SHARE_OF_TIME = 0.1


class Job:
    """A job of the service, and what its owner can do with it."""

    def __init__(self, connection: Connection, state: JobState) -> None:
        self._connection = connection
        self.state = state  #: As it stood when it was last asked for.

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.state.status}>"

    @property
    def id(self) -> str:
        """Its id, with which ``Client.job`` finds it again."""
        return self.state.id

    @property
    def url(self) -> str:
        """Where the service has it; a browser is shown its page at ``/jobs/<id>``."""
        return f"{self._connection.url}{self._path}"

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self.id}"

    def refresh(self) -> JobState:
        """Ask how it stands now."""
        self.state = self._connection.get(self._path, JobState)
        return self.state

    def wait(self, timeout_seconds: float | None = None) -> JobState:
        """Return the job once it has succeeded.

        Args:
            timeout_seconds: How long to wait; ``None``: for ever.

        Raises:
            JobFailedError: it failed.
            JobCancelledError: it was cancelled.
            StillRunningError: it has not ended in time; it goes on.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self.refresh().is_final:
            if deadline is not None and time.monotonic() > deadline:
                message = f"the job must end within {timeout_seconds:g} seconds. It goes on"
                raise StillRunningError(message)
            time.sleep(_POLL_SECONDS)
        return self.succeeded()

    def watch(self) -> JobState:
        """Show how it goes on until it has ended: a bar in a terminal, in a notebook as well.

        Raises:
            JobFailedError: it failed.
            JobCancelledError: it was cancelled.
        """
        show(self.moments())
        return self.succeeded()

    def succeeded(self) -> JobState:
        """Return the job as it was last asked for, if it has a result.

        Raises:
            JobFailedError: it failed.
            JobCancelledError: it was cancelled.
        """
        match self.state.status:
            case "failed":
                raise JobFailedError(self.state)
            case "cancelled":
                raise JobCancelledError(self.state)
            case _:
                return self.state

    def moments(self) -> Iterator[Moment]:
        """Yield the job whenever something about it changes, the last time when it has ended."""
        last_event = 0
        for event in self.events_so_far():
            last_event = event.id
        losses = _Losses(self)
        yield Moment(self.refresh(), losses.latest())
        if self.state.is_final:
            return
        for event in self.events(after=last_event):
            self._hear(event)
            yield Moment(self.state, losses.latest())

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """Yield what happened, then what happens, until the job has ended.

        A connection that breaks off is taken up where it broke: no event is lost, none comes twice.

        Args:
            after: Only events with a greater id.
        """
        patience = self._connection.patience()
        while True:
            try:
                for event in self._streamed_events(after):
                    yield event
                    if event.is_last:
                        return
                    after = event.id
                    patience.renew()
            except UnreachableError as error:
                patience.bear(error)
            else:
                return

    def events_so_far(self, *, after: int = 0) -> Iterator[Event]:
        """Yield what has happened until now."""
        while True:
            page = self._connection.get_list(f"{self._path}/events", Event, after=after)
            yield from page
            if len(page) < _EVENTS_AT_ONCE:
                return
            after = page[-1].id

    def metrics(self) -> History:
        """Return what was measured in training so far."""
        return self._connection.get(f"{self._path}/metrics", History)

    def cancel(self) -> JobState:
        """Withdraw it; a running one ends within seconds. A cancelled one stays so."""
        return self._moved("cancel", to="cancelled")

    def pause(self) -> JobState:
        """Set it aside, so that it holds no worker; ``resume`` goes on with it."""
        return self._moved("pause", to="paused")

    def resume(self) -> JobState:
        """Go on with a paused job."""
        return self._moved("resume", to="queued")

    def delete(self) -> None:
        """Remove it and its files; it must have ended.

        Raises:
            RefusedError: it has not, or there is no such job any more.
        """
        self._connection.delete(self._path)

    def artifacts(self) -> list[Artifact]:
        """Return the files that can be downloaded; none until it has succeeded."""
        return self._connection.get_list(f"{self._path}/artifacts", Artifact)

    def download(self, folder: str | Path = ".", *, name: str | None = None) -> list[Path]:
        """Download its files, and return where they are.

        Each is written aside, taken up where a connection broke, held against its SHA-256, and only
        then put in its place, over a file that is there.

        Args:
            folder: Where to; it is made where there is none.
            name: Only this one, ``model.keras`` for example.

        Raises:
            RefusedError: there is no file of this name.
            DamagedDownloadError: what came is not the file.
        """
        folder = Path(folder)
        names = [artifact.name for artifact in self.artifacts()] if name is None else [name]
        # A name is one of a file: it leads nowhere else, whatever the service says.
        return [
            download(self._connection, f"{self._path}/artifacts/{name}", folder / Path(name).name)
            for name in names
        ]

    def _hear(self, event: Event) -> None:
        """Bring ``state`` to where ``event`` leaves the job."""
        if event.kind == "progress":
            progress = Progress.model_validate(event.data)
            self.state = self.state.model_copy(update={"progress": progress})
        elif event.kind != "epoch":
            self.refresh()

    def _streamed_events(self, after: int) -> Iterator[Event]:
        """Yield what one connection brings; nothing when nothing can follow ``after``.

        Raises:
            UnreachableError: it broke off.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._connection.streamed(f"{self._path}/events", headers) as answer:
            if answer.status_code == HTTPStatus.NO_CONTENT:
                return
            for sent in httpx2.EventSource(answer):
                if sent.data:
                    yield Event.model_validate_json(sent.data)
        # A service that stops ends its streams; the job goes on when it is back.
        message = f"the service at {self._connection.url} ended the stream of events"
        raise UnreachableError(message, retry_after=0.0)

    def _moved(self, move: str, *, to: str) -> JobState:
        try:
            self.state = self._connection.post(f"{self._path}/{move}", JobState, Body())
        except RefusedError as error:
            # Perhaps it was moved, and only the answer got lost.
            if error.status != HTTPStatus.CONFLICT or self.refresh().status != to:
                raise
        return self.state


class _Losses:
    """The latest loss of a job, asked for now and then: its whole history is the answer."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._latest: float | None = None
        self._ask_again_at = 0.0

    def latest(self) -> float | None:
        began = time.monotonic()
        if began >= self._ask_again_at:
            losses = self._job.metrics().steps.get("loss", ())
            self._latest = losses[-1] if losses else None
            took = time.monotonic() - began
            self._ask_again_at = began + max(_SECONDS_BETWEEN_LOSSES, took / _SHARE_OF_TIME)
        return self._latest
