"""How commands end: a sentence on standard error, and a status that scripts can tell apart."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum

import typer

from espalier import (
    Client,
    DamagedDownloadError,
    DamagedUploadError,
    JobCancelledError,
    JobFailedError,
    RefusedError,
    UnreachableError,
)


class Status(IntEnum):
    """What the exit status of a command says. 0 is success, whatever the command."""

    REFUSED = 1  #: It cannot be done; the sentence says what to change.
    USAGE = 2  #: The command line itself is wrong. Typer's own.
    JOB_FAILED = 3
    JOB_CANCELLED = 4
    UNREACHABLE = 5  #: No service answers, or it cannot work now: trying again later may help.
    INTERRUPTED = 130  #: Ctrl-C; the job, if there was one, goes on.


def ended(words: str, status: Status) -> typer.Exit:
    """Say ``words`` on standard error, and return what to raise."""
    typer.echo(f"espalier: {words}", err=True)
    return typer.Exit(status)


@contextmanager
def connected(url: str, api_key: str | None) -> Generator[Client]:
    """Give a client of the service at ``url``; what goes wrong in the block ends the command."""
    try:
        with Client(url, api_key) as client:
            yield client
    except RefusedError as error:
        raise ended(str(error), Status.REFUSED) from error
    except UnreachableError as error:
        raise ended(f"{error}. `espalier serve` starts one", Status.UNREACHABLE) from error
    except JobFailedError as error:
        raise ended(f"the job failed. {error}", Status.JOB_FAILED) from error
    except JobCancelledError as error:
        raise ended(str(error), Status.JOB_CANCELLED) from error
    except (DamagedDownloadError, DamagedUploadError, OSError) as error:
        raise ended(str(error), Status.REFUSED) from error
