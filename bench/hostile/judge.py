"""What plain Keras and NumPy say of files: ``python -m bench.hostile.judge FOLDER``.

Prints a JSON object: by the name of each file, what is wrong with it, or null. It opens what
strangers made, so it is given only what the service has taken already.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench.hostile.case import Case


def objections(cases: Iterable[Case]) -> dict[str, str]:
    """Return what is wrong with the files of cases that came to a result, by name of the case."""
    sent = list(cases)
    with tempfile.TemporaryDirectory(prefix="judged-") as name:
        folder = Path(name)
        for number, case in enumerate(sent):
            if case.model is not None:
                ending = "keras" if case.model.startswith(b"PK") else "h5"
                (folder / f"{number}.{ending}").write_bytes(case.model)
            if case.data is not None:
                (folder / f"{number}.npz").write_bytes(case.data)
        judged = subprocess.run(
            [sys.executable, "-m", "bench.hostile.judge", str(folder)],
            check=True,
            stdout=subprocess.PIPE,
        )
    found: dict[str, str | None] = json.loads(judged.stdout.splitlines()[-1])
    return {sent[int(Path(file).stem)].name: said for file, said in found.items() if said}


def main(folder: Path) -> None:
    """Print what is wrong with the files in ``folder``."""
    print(json.dumps({path.name: _objection(path) for path in sorted(folder.iterdir())}))


def _objection(path: Path) -> str | None:
    try:
        is_finite = _data_are_finite(path) if path.suffix == ".npz" else _weights_are_finite(path)
    except Exception as error:  # noqa: BLE001  (Keras raises whatever the file provokes)
        return f"{type(error).__name__}: {error}"[:300]
    return None if is_finite else "it holds NaN or infinity"


def _data_are_finite(path: Path) -> bool:
    with np.load(path, allow_pickle=False) as arrays:
        return all(np.isfinite(arrays[name]).all() for name in arrays if name[0] in "xy")


def _weights_are_finite(path: Path) -> bool:
    import keras  # noqa: PLC0415  (its import takes seconds, and starts threads)

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return all(np.isfinite(np.asarray(weight)).all() for weight in model.weights)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
