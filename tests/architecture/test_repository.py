"""What must never be in a file of this repository."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("app", "worker", "pruning_core", "bench")
_SOURCES = [path for package in _PACKAGES for path in sorted((_ROOT / package).rglob("*.py"))]


def _files_of_the_repository() -> list[Path]:
    """Return every file that is in git or could be added to it, binary ones left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [_ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def _imported(path: Path) -> set[str]:
    """Return the top-level names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_celery_is_imported_in_three_files_and_where_it_is_measured_alone():
    importers = {
        path.relative_to(_ROOT).as_posix()
        for path in _SOURCES
        if _imported(path) & {"celery", "kombu"}
    }

    of_service = {"app/jobs/queue.py", "worker/main.py", "worker/tasks.py"}
    assert importers == {*of_service, "bench/scale/bare.py"}


def test_no_file_is_named_for_nothing():
    nameless = [path for path in _SOURCES if path.stem in {"utils", "util", "helpers", "misc"}]

    assert not nameless


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"py" + r"pi\.org|python" + r"hosted\.org", id="host of a package index"),
        pytest.param(r"(?<![\w.])/(?:wor" + r"k|ro" + r"ot|ho" + r"me)/\w", id="path of a machine"),
        pytest.param(r"--(?:extra-)?index-" + r"url[ =]\S", id="address of a package index"),
    ],
)
def test_no_file_names_a_place_that_others_lack(pattern):
    found = [
        f"{path.relative_to(_ROOT)}: {match.group()}"
        for path in _files_of_the_repository()
        for match in re.finditer(pattern, path.read_text(errors="replace"))
    ]

    assert not found


def test_every_requirement_is_pinned_by_hash():
    for path in sorted((_ROOT / "requirements").glob("*.txt")):
        requirements = re.split(r"\n(?=\S)", path.read_text())
        pinned = [block for block in requirements if not block.startswith("#")]

        assert pinned
        assert all("==" in block and "--hash=sha256:" in block for block in pinned), path


def test_every_setting_is_documented_once_and_no_other():
    documented = re.findall(r"^\| `(ESPALIER_\w+)`", _operations(), flags=re.MULTILINE)

    assert documented == [f"ESPALIER_{name.upper()}" for name in Settings.model_fields]


def test_every_documented_default_is_the_real_one():
    row = re.compile(r"^\| `ESPALIER_(\w+)` \| ?`?([^|`]*)`? ?\|", re.MULTILINE)
    rows = row.findall(_operations())

    documented = {name.lower(): default.strip() for name, default in rows}
    real = {name: _shown(field.default) for name, field in Settings.model_fields.items()}
    assert documented == real


def _shown(default: object) -> str:
    if default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def _operations() -> str:
    return (_ROOT / "docs" / "operations.md").read_text()
