"""Every environment variable, once, with its unit; read only in ``main.py`` files and the CLI."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.telemetry.logs import LogFormat


class Settings(BaseSettings):
    """The operator's choices; each is read from ``ESPALIER_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="ESPALIER_", env_ignore_empty=True, frozen=True)

    #: Folder of everything that has no URL of its own: database, files, working folders.
    data_dir: Path = Path("espalier-data")
    #: ``sqlite:///…`` or ``postgresql://…``; empty for SQLite in ``data_dir``.
    database_url: str = ""
    #: Where files are kept: a ``file://`` URL, or ``s3://bucket/prefix``; empty for a folder in
    #: ``data_dir``.
    artifact_url: str = ""
    #: URL at which callers reach the S3 store: downloads are redirected there; empty for through
    #: the API.
    download_endpoint: str = ""
    #: The broker. ``espalier serve`` starts one of its own and sets this.
    redis_url: str = "redis://127.0.0.1:6379/0"

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)

    #: Bounds of one tenant: bytes of models, datasets and artifacts together; jobs that have not
    #: finished; and, where keys are asked for, requests in any 60 seconds.
    tenant_max_bytes: int = Field(default=2**40, gt=0)
    tenant_max_jobs: int = Field(default=1000, gt=0)
    tenant_requests_per_minute: int = Field(default=1200, gt=0)

    max_model_bytes: int = Field(default=4 * 2**30, gt=0)
    max_dataset_bytes: int = Field(default=16 * 2**30, gt=0)
    #: What files leave of their disk: with less, nothing is taken any more.
    keep_free_bytes: int = Field(default=2**30, ge=0)
    #: The longest that jobs are kept once they have ended, and models and datasets that no job
    #: names; unset for ever. A job may ask for less.
    retention_seconds: int | None = Field(default=None, ge=60)
    #: Who stops sending in the middle of a body for this long is cut off.
    sender_silence_seconds: float = Field(default=60.0, gt=0)
    #: Bound on the static check of one upload.
    check_timeout_seconds: float = Field(default=60.0, gt=0)

    #: Jobs whose model and data together have as many bytes are large: they have a lane of their
    #: own.
    large_job_bytes: int = Field(default=2**30, gt=0)
    #: Which of them a worker takes.
    takes: Literal["all", "small", "large"] = "all"

    #: A worker that was silent for this long has lost its job to whoever claims it next.
    lease_seconds: float = Field(default=30.0, gt=0)
    #: How often a job is tried when its runner dies.
    max_attempts: int = Field(default=3, ge=1)
    #: A runner that reports nothing for this long is ended.
    silence_seconds: float = Field(default=900.0, gt=0)
    #: From one checkpoint of a training to the next: what a job can lose.
    checkpoint_seconds: float = Field(default=30.0, gt=0)
    #: Bound on the time that workers spend on one job, over all of its attempts.
    job_timeout_seconds: float = Field(default=24 * 3600.0, gt=0)
    #: A runner that holds more memory, mapped files left out, is ended, and its job fails.
    max_runner_memory_bytes: int = Field(default=16 * 2**30, gt=0)
    #: Whether to refuse to start where uploaded files cannot be opened confined.
    production: bool = False
    #: Whether webhooks may go to this machine and to private networks.
    webhook_private: bool = False
    #: How often rows that nobody was woken for are looked for.
    reap_seconds: float = Field(default=5.0, gt=0)

    #: What Prometheus shows to read ``/metrics``; unset: whoever is on this machine, until there
    #: is an API key.
    metrics_token: str | None = Field(default=None, min_length=16)
    #: A collector that takes OTLP over HTTP, with its path; empty for no traces.
    traces_url: str = ""
    #: Lines for people, or JSON.
    log_format: LogFormat = "text"

    @property
    def resolved_database_url(self) -> str:
        """``database_url``, or SQLite in ``data_dir``."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'espalier.sqlite'}"

    @property
    def resolved_artifact_url(self) -> str:
        """``artifact_url``, or a folder in ``data_dir``."""
        return self.artifact_url or (self.data_dir.absolute() / "files").as_uri()
