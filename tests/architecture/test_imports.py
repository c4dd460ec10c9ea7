"""What must not be loaded by whom. import-linter sees the edges; here the cost is seen."""

import json
import subprocess
import sys

import pytest

_HEAVY = {"keras", "tensorflow", "tensorflow_cpu", "tf_keras", "jax", "torch"}


def _modules_after(statement: str) -> set[str]:
    """Return the top-level modules of a fresh interpreter that ran ``statement``."""
    script = f"{statement}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    names = json.loads(completed.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "module",
    [
        "app.main",
        "app.cli",
        "app.demo",
        "app.jobs.intake",
        "worker.main",
        "pruning_core",
        "pruning_core.catalogue",
        "pruning_core.config",
        "pruning_core.errors",
        "pruning_core.schedule",
        "pruning_core.tfmot",
    ],
)
def test_importing_it_loads_no_tensorflow_and_no_keras(module):
    loaded = _modules_after(f"import {module}")

    assert not loaded & _HEAVY


def test_the_static_check_loads_no_service():
    loaded = _modules_after("import app.jobs.intake")

    assert not loaded & {"celery", "fastapi", "sqlalchemy", "uvicorn"}


def test_the_library_loads_no_service():
    loaded = _modules_after("import pruning_core")

    assert not loaded & {"app", "worker", "celery", "fastapi", "pydantic", "sqlalchemy"}
