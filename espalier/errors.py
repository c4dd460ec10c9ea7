"""What can go wrong between a caller and the service, and whose fault it is.

ClientError
├── RefusedError                the service will not do it; ``code`` says why
├── UnreachableError            it does not answer, or cannot work now; trying again later may help
├── DamagedDownloadError        the bytes that came are not those of the file
├── DamagedUploadError          likewise, the other way
├── StillRunningError           the job has not ended in the time that was given
└── JobEndedError               the job ended without a result
    ├── JobFailedError          its ``failure`` says why
    └── JobCancelledError
"""

from __future__ import annotations

from espalier.records import JobState, Problem


class ClientError(Exception):
    """Base of every error that the client raises on purpose."""

    #: Seconds until trying again may help; ``None`` where nothing will change by itself.
    retry_after: float | None = None


class RefusedError(ClientError):
    """The service will not do what was asked.

    Args:
        problem: What it answered.
        retry_after: Seconds until it may, where it says so.
    """

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        super().__init__(" ".join(filter(None, (problem.detail, problem.hint))))
        self.problem = problem
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """Stable identifier to branch on, ``lambda_layer`` for example."""
        return self.problem.code


class UnreachableError(ClientError):
    """The service does not answer, or says that it cannot work now.

    Args:
        message: What was found instead.
        retry_after: Seconds until trying again may help; ``None``: the client does not try.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DamagedDownloadError(ClientError):
    """The bytes that came are not those of the file."""


class DamagedUploadError(ClientError):
    """The bytes that have arrived are not those of the file."""


class StillRunningError(ClientError):
    """The job has not ended in the time that was given; it goes on."""


class JobEndedError(ClientError):
    """The job ended without a result."""

    def __init__(self, state: JobState) -> None:
        """Keep how it ended."""
        failure = state.failure
        super().__init__(
            f"the job {state.id} was {state.status}"
            if failure is None
            else f"{failure.message} {failure.hint}"
        )
        self.state = state


class JobFailedError(JobEndedError):
    """The job failed; ``state.failure`` says why, and what to do about it."""


class JobCancelledError(JobEndedError):
    """The job was cancelled."""
