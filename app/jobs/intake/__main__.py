"""The process that checks one file: ``python -m app.jobs.intake``.

It imports what it needs, waits for one question on stdin, ``{"kind": "model", "path": …}`` or
``{"kind": "dataset", …}``, and answers with one JSON object: a summary, a refusal, or that there
is no room to unpack the file. Untrusted bytes are parsed here, so it is confined once it knows
which file it is asked about: that file is all it can read besides libraries, and its own folder is
all it can write to.
"""

from __future__ import annotations

import errno
import json
import resource
import sys
import tempfile
from pathlib import Path

from app.jobs.confinement.process import Reach, confine, libraries
from app.jobs.errors import RefusedFileError

#: Address space; the check itself stays below 200 MiB.
_MAX_MEMORY_BYTES = 4 * 2**30
_MAX_MESSAGE = 1000
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main() -> int:
    """Check one file and print what was found; nothing, where nobody asks."""
    _bound()
    # Imported late, so that the bounds hold for the libraries that parse.
    from app.jobs.intake.dataset import summarise_dataset  # noqa: PLC0415
    from app.jobs.intake.model import summarise_model  # noqa: PLC0415

    question = sys.stdin.readline()
    if not question:
        return 0
    asked = json.loads(question)
    path = Path(asked["path"])
    confine(Reach(readable=(path, *libraries()), writable=(Path.cwd(),)))
    # Left alone, tempfile would try it out, and not say what was amiss.
    tempfile.tempdir = str(Path.cwd())
    summarise = {"model": summarise_model, "dataset": summarise_dataset}[asked["kind"]]
    try:
        answer = {"summary": summarise(path).model_dump(mode="json")}
    except RefusedFileError as error:
        answer = _refusal(error)
    except MemoryError:
        answer = _refusal(_swollen())
    except OSError as error:
        # What is wrong with the file itself is a refusal by now.
        if error.errno not in _NO_ROOM:
            raise
        answer = {"no_room": error.strerror}
    sys.stdout.write(json.dumps(answer))
    return 0


def _refusal(error: RefusedFileError) -> dict[str, dict[str, str]]:
    message = _printable(error.message)
    return {"refusal": {"code": error.code, "message": message, "hint": error.hint}}


def _swollen() -> RefusedFileError:
    return RefusedFileError(
        "too_large",
        "The file asks for more memory than reading any model or dataset takes.",
        hint="Save it again with the current Keras or NumPy and upload it again.",
    )


def _printable(message: str) -> str:
    """The message, bounded, without half characters: names from the file stand in it."""
    return message[:_MAX_MESSAGE].encode("utf-8", "replace").decode("utf-8")


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
