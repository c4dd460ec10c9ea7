"""The Python client of the service: HTTP only, no Keras and no TensorFlow of its own.

>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     job = client.prune("model.keras", "train.npz", {"training": {"epochs": 2}})
...     job.watch()
...     job.download("pruned")
"""

from espalier.errors import (
    ClientError,
    DamagedDownloadError,
    DamagedUploadError,
    JobCancelledError,
    JobFailedError,
    RefusedError,
    StillRunningError,
    UnreachableError,
)
from espalier.job import Job
from espalier.records import Artifact, Event, JobState, Plan, Progress, Result
from espalier.service import Client

__all__ = [
    "Artifact",
    "Client",
    "ClientError",
    "DamagedDownloadError",
    "DamagedUploadError",
    "Event",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobState",
    "Plan",
    "Progress",
    "RefusedError",
    "Result",
    "StillRunningError",
    "UnreachableError",
]
