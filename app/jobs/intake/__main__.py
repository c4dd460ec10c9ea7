"""``python -m app.jobs.intake model|dataset PATH``: one line of JSON, a summary or a refusal.

This process is where untrusted bytes are parsed, so this is where it is confined.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from app.jobs.errors import RefusedFileError

#: Address space; the check itself stays below 200 MiB.
_MAX_MEMORY_BYTES = 4 * 2**30
_MAX_MESSAGE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one file and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m app.jobs.intake")
    parser.add_argument("kind", choices=["model", "dataset"])
    parser.add_argument("path", type=Path)
    chosen = parser.parse_args(arguments)
    _bound()
    sys.stdout.write(json.dumps(answer(chosen.kind, chosen.path)) + "\n")
    return 0


def answer(kind: str, path: Path) -> dict[str, object]:
    """Check the file at ``path``: ``{"summary": …}`` or ``{"refusal": …}``."""
    # Imported late, so that the bounds hold for the libraries that parse.
    from app.jobs.intake.dataset import summarise_dataset  # noqa: PLC0415
    from app.jobs.intake.model import summarise_model  # noqa: PLC0415

    try:
        summary = summarise_model(path) if kind == "model" else summarise_dataset(path)
    except RefusedFileError as error:
        message = _printable(error.message)
        return {"refusal": {"code": error.code, "message": message, "hint": error.hint}}
    return {"summary": summary.model_dump(mode="json")}


def _printable(message: str) -> str:
    """The message, bounded, without half characters: names from the file stand in it."""
    return message[:_MAX_MESSAGE].encode("utf-8", "replace").decode("utf-8")


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
