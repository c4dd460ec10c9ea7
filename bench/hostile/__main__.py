"""Send everything to the running service, and print what became of it."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench import hostile
from bench.hostile.case import Case, Expected
from bench.hostile.corpus import corpus
from bench.hostile.findings import Findings
from bench.hostile.mutations import mutations
from bench.hostile.originals import originals
from bench.hostile.planted import Planted
from bench.hostile.trial import tried
from bench.service import Service


def main() -> int:
    """Run, print what was found, and return the exit status: 0 where there is nothing."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    findings = _run(folder, mutations_asked=asked.mutations, seed=asked.seed)
    print(*findings.table(), sep="\n")
    complaints = list(findings.complaints())
    if complaints:
        print(*complaints, f"logs and database are kept in {folder}", sep="\n")
    else:
        shutil.rmtree(folder)
    print(json.dumps(findings.figures))
    return 1 if complaints else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile",
        description=hostile.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mutations", type=int, default=1000, help="how many, beside the corpus")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    return parser.parse_args()


def _run(folder: Path, *, mutations_asked: int, seed: int) -> Findings:
    around, data = folder / "around", folder / "data"
    for each in (around, data):
        each.mkdir()
    planted, valid = Planted(around), originals()
    cases = [
        *corpus(valid, planted),
        *_valid_models(folder / "models"),
        *mutations(valid, count=mutations_asked, seed=seed),
    ]
    settings = {"PLANTED_SECRET": planted.secret, "ESPALIER_JOB_TIMEOUT_SECONDS": "300"}
    with Service.running(data, workers=1, settings=settings) as service:
        findings = tried(service.url, cases, valid=valid, planted=planted)
        ended = [part.name for part in service.parts if part.has_died]
    planted.look_below(data)
    return replace(findings, ended=ended, secrets=planted.found())


def _valid_models(folder: Path) -> Iterator[Case]:
    folder.mkdir()
    # Keras in a process of its own: this one shares the machine with the service.
    subprocess.run([sys.executable, "-m", "bench.hostile.models", str(folder)], check=True)
    for path in sorted(folder.glob("*.npz")):
        [model] = (each for each in folder.glob(f"{path.stem}.*") if each != path)
        yield Case(
            name=f"valid: {model.name}",
            model=model.read_bytes(),
            data=path.read_bytes(),
            expected=Expected.SUCCESS,
        )


if __name__ == "__main__":
    sys.exit(main())
