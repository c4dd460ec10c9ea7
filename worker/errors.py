"""What can end a run early, and whose fault it is.

WorkerError
├── RefusedError            the model, the data or the spec cannot be carried out; trying again
│                           cannot help
├── RunnerDiedError         the runner ended without an answer; trying again may help
│   └── RunnerStuckError    it was ended, because it was silent or busy for too long
└── InterruptedRunError     somebody wants the run to end
    ├── CancelledError      the caller withdrew the job
    ├── PausedError         the caller set the job aside; it goes on later
    └── StoppedError        the worker is going down; another one takes the job
"""

from app.jobs.job import Failure


class WorkerError(Exception):
    """Base of every error that ``worker`` raises on purpose."""


class RefusedError(WorkerError):
    """The job cannot be carried out, and trying again cannot help.

    Args:
        code: Stable identifier of the reason, for example ``training_diverged``.
        message: What is wrong, in words that the person who uploaded the file can act on.
        hint: What to do about it.
    """

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        """Keep the failure as the job will show it."""
        super().__init__(f"{message} {hint}")
        self.failure = Failure(code=code, message=message, hint=hint)


class RunnerDiedError(WorkerError):
    """The runner ended without an answer; the message says how, in words for the job's page."""


class RunnerStuckError(RunnerDiedError):
    """The runner was ended because it said nothing, or was busy, for too long."""


class InterruptedRunError(WorkerError):
    """Somebody wants the run to end."""


class CancelledError(InterruptedRunError):
    """The caller withdrew the job."""


class PausedError(InterruptedRunError):
    """The caller set the job aside."""


class StoppedError(InterruptedRunError):
    """The worker is going down."""
