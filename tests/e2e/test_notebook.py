"""The notebook of the documentation, run as it stands against the real service."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.e2e.calls import ROOT

_NOTEBOOK = ROOT / "docs" / "python-client.ipynb"
_LONGEST_CELL_SECONDS = 300


@pytest.fixture(scope="module")
def run(address, tmp_path_factory):
    """What the cells showed, and the folder that they worked in."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(_NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_LONGEST_CELL_SECONDS,
        resources={"metadata": {"path": str(folder)}},
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ESPALIER_URL", address)
        environment.setenv("PYTHONPATH", str(ROOT))
        client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return outputs, folder


def test_it_goes_from_a_live_model_to_a_smaller_one_that_keras_loads(run):
    outputs, folder = run
    said = "".join(output.get("text", "") for output in outputs)

    accuracies = [float(found) for found in re.findall(r"[Aa]ccuracy\D*?(0\.\d+)", said)]
    assert min(accuracies) > 0.8
    assert "90.0% of the kernel is zero" in said
    assert (folder / "pruned" / "model.keras").stat().st_size < 100_000


def test_its_progress_is_shown_in_one_place(run):
    outputs, _ = run
    shown = [
        output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})
    ]

    assert len(shown) == 1
    assert "succeeded" in shown[0]
    assert "sparsity 0.900" in shown[0]


def test_it_is_kept_without_what_its_cells_showed():
    notebook = nbformat.read(_NOTEBOOK, as_version=4)

    assert not [cell for cell in notebook.cells if cell.get("outputs")]
