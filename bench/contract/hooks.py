"""What Schemathesis puts into a request instead of what it would make up.

It imports this by the name in ``SCHEMATHESIS_HOOKS``; ``ESPALIER_CONTRACT`` has the ids, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import schemathesis
from hypothesis import strategies as st

from bench.contract.attack import There
from bench.hostile.originals import originals

#: Of those that are asked for by name, ``doomed`` may be deleted.
_THERE: There = json.loads(os.environ["ESPALIER_CONTRACT"])
_VALID = originals()
_FILES = {"model": [_VALID.keras, _VALID.h5], "data": [_VALID.npz]}

# Pieces of files are bytes as any others.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType]
def flatmap_path_parameters(context: Any, parameters: Any) -> Any:
    """Ask for what is there, three times of four."""
    is_deletion = context.operation.method.lower() == "delete"
    return _replaced(parameters, _THERE["doomed" if is_deletion else "kept"], kind=str)


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType]
def flatmap_body(context: Any, body: Any) -> Any:
    """Send what can be taken, three times of four; what is of the wrong type stays so."""
    del context

    def with_files(values: Any) -> Any:
        return _replaced(values, _FILES, kind=bytes)

    return _replaced(body, _THERE["kept"], kind=str).flatmap(with_files)


def _replaced(values: Any, known: Mapping[str, Sequence[Any]], *, kind: type) -> Any:
    if not isinstance(values, dict):
        return st.just(values)
    made_up = cast("dict[str, Any]", values)
    chosen = {
        name: st.sampled_from([value, *known[name], *known[name], *known[name]])
        for name, value in made_up.items()
        if name in known and isinstance(value, kind)
    }

    def put_in(those: dict[str, Any]) -> dict[str, Any]:
        return {**made_up, **those}

    return st.fixed_dictionaries(chosen).map(put_in)
