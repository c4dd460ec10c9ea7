import pytest

from docs.curves import DRAWN, FOLDER, drawing


@pytest.mark.parametrize("name", DRAWN)
def test_the_curves_in_the_documentation_are_those_of_the_code(name):
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == drawing(DRAWN[name])


def test_every_curve_is_shown_and_none_else_is_there():
    text = (FOLDER.parent / "pruning.md").read_text(encoding="utf-8")

    assert {path.stem for path in FOLDER.glob("*.svg")} == set(DRAWN)
    assert all(f"(images/{name}.svg)" in text for name in DRAWN)
