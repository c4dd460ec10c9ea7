"""The spec of a job, from the options of a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import typer

#: Schedules that have one level, and not a beginning and an end.
_OF_ONE_LEVEL = frozenset({"constant", "one_shot"})
_EVIDENCE_CHARACTERS = 200


def assembled(
    written: str | None,
    *,
    sparsity: float | None = None,
    epochs: int | None = None,
    granularity: str | None = None,
    formats: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the spec that ``written`` says, with what the other options say instead.

    What it may say the service knows, and refuses by name.

    Raises:
        typer.BadParameter: ``written`` is no JSON object, or no readable file.

    >>> assembled(None, sparsity=0.9, epochs=3)
    {'schedule': {'kind': 'polynomial_decay', 'final_sparsity': 0.9}, 'training': {'epochs': 3}}
    >>> assembled('{"schedule": {"kind": "one_shot"}}', sparsity=0.5, epochs=None)
    {'schedule': {'kind': 'one_shot', 'target_sparsity': 0.5}}
    >>> assembled('{"artifacts": ["onnx"]}', granularity="channel", formats=["keras_compact"])
    {'artifacts': ['keras_compact'], 'granularity': {'kind': 'channel'}}
    """
    spec = {} if written is None else _object(_text(written))
    if sparsity is not None:
        schedule = _part(spec, "schedule") or {"kind": "polynomial_decay"}
        level = "target_sparsity" if schedule.get("kind") in _OF_ONE_LEVEL else "final_sparsity"
        spec["schedule"] = {**schedule, level: sparsity}
    if epochs is not None:
        spec["training"] = {**_part(spec, "training"), "epochs": epochs}
    if granularity is not None and _part(spec, "granularity").get("kind") != granularity:
        spec["granularity"] = {"kind": granularity}
    if formats:
        spec["artifacts"] = [*formats]
    return spec


def _text(written: str) -> str:
    if written == "-":
        return sys.stdin.read()
    if written.lstrip().startswith("{"):
        return written
    try:
        return Path(written).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _refused("a file that can be read", f"{written} ({error})") from error


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _refused("JSON", str(error)) from error
    if not isinstance(value, dict):
        raise _refused("a JSON object", text)
    return cast("dict[str, Any]", value)


def _part(spec: dict[str, Any], name: str) -> dict[str, Any]:
    part = spec.get(name, {})
    if not isinstance(part, dict):
        raise _refused(f"an object in its member {name}", json.dumps(part))
    return cast("dict[str, Any]", part)


def _refused(rule: str, evidence: str) -> typer.BadParameter:
    message = f"must be {rule}. Received: {evidence[:_EVIDENCE_CHARACTERS]}"
    return typer.BadParameter(message, param_hint="--spec")
