"""What can go wrong between the service's parts, and whose fault it is.

JobError
├── NotFoundError                 no such thing, or it has been deleted
│   ├── JobNotFoundError
│   ├── ModelNotFoundError
│   ├── DatasetNotFoundError
│   ├── ArtifactNotFoundError
│   ├── UploadNotFoundError
│   └── KeyNotFoundError
├── ConflictError                 its state does not allow this
│   ├── JobConflictError          the job's status does not allow the move
│   ├── InUseError                an unfinished job still needs it
│   ├── UploadBusyError           another request is sending the upload; trying again may help
│   └── IdempotencyConflictError  the key was used for another request
├── RefusedFileError              the uploaded file is not one that can be taken; `code` says why
├── RefusedSpecError              the spec cannot be carried out on this model and data
├── InvalidCursorError            the cursor is not one that a page gave
├── TooLargeError                 more bytes than the operator allows
├── QuotaError                    more than one tenant may take
│   ├── StorageQuotaError
│   └── JobQuotaError             trying again helps when a job has finished
├── InvalidKeyError               what was shown is no API key, or not any more
├── DamagedFileError              stored bytes are not what they were; trying again does not help
├── LostClaimError                another worker holds the job now; write nothing more
└── BackendUnavailableError       Redis, database or files cannot be reached; the only one retried
    └── StorageFullError          the disk has no more room
"""

from dataclasses import dataclass


class JobError(Exception):
    """Base of every error that ``app.jobs`` raises on purpose."""


class NotFoundError(JobError):
    """There is no such thing, or it has been deleted."""


class JobNotFoundError(NotFoundError):
    """There is no such job."""


class ModelNotFoundError(NotFoundError):
    """There is no such model."""


class DatasetNotFoundError(NotFoundError):
    """There is no such dataset."""


class ArtifactNotFoundError(NotFoundError):
    """The job has no artifact of this name."""


class UploadNotFoundError(NotFoundError):
    """There is no such upload, or nobody went on with it for too long."""


class KeyNotFoundError(NotFoundError):
    """There is no such API key."""


class ConflictError(JobError):
    """The thing is in a state that does not allow what was asked."""


class JobConflictError(ConflictError):
    """The job's status does not allow this move."""


class InUseError(ConflictError):
    """An unfinished job still needs this model or dataset."""


class UploadBusyError(ConflictError):
    """Another request is sending the upload."""


class IdempotencyConflictError(ConflictError):
    """The idempotency key was used before, for another request."""


class RefusedFileError(JobError):
    """An uploaded file cannot be taken.

    Args:
        code: Stable identifier of the reason, for example ``lambda_layer``.
        message: What is wrong, in words that the person who uploaded the file can act on.
        hint: What to do about it.
    """

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        """Keep the three parts apart, because the answer shows them apart."""
        super().__init__(f"{message} {hint}")
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class FieldError:
    """One fault in a spec."""

    pointer: str  #: JSON pointer into the spec, for example ``/schedule/final_sparsity``.
    message: str  #: The rule, then what was received.


class RefusedSpecError(JobError):
    """The spec is no spec, or it cannot be carried out on this model and this dataset."""

    def __init__(self, *errors: FieldError) -> None:
        """Keep every fault, so that one answer names them all."""
        super().__init__("; ".join(f"{error.pointer}: {error.message}" for error in errors))
        self.errors = errors


class InvalidCursorError(JobError):
    """The cursor is not one that a page of jobs gave."""


class TooLargeError(JobError):
    """More bytes than the operator allows."""


class QuotaError(JobError):
    """More than one tenant may take."""


class StorageQuotaError(QuotaError):
    """The tenant would store more bytes than it may."""


class JobQuotaError(QuotaError):
    """The tenant has as many unfinished jobs as it may."""


class InvalidKeyError(JobError):
    """What was shown is no API key, or it has been revoked."""

    def __init__(self) -> None:
        """Say nothing of what was shown: it may be a good key with a letter missing."""
        super().__init__("the key is not valid, or it has been revoked")


class DamagedFileError(JobError):
    """A stored file is not what was stored: somebody or something has changed its bytes."""


class LostClaimError(JobError):
    """Another worker holds the job now, or it is gone: write nothing more."""


class BackendUnavailableError(JobError):
    """Redis, the database or the files cannot be reached; trying again may help."""


class StorageFullError(BackendUnavailableError):
    """The disk would have less room left than the operator wants to keep."""
