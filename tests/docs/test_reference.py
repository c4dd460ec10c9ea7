"""``make reference`` writes it anew."""

import pytest

from docs.reference import FOLDER, pages


@pytest.mark.parametrize("name", ["command-line.md", "espalier.md", "pruning_core.md"])
def test_the_reference_says_what_the_code_does(name):
    assert (FOLDER / name).read_text() == pages()[name]


def test_every_page_is_written_from_the_code():
    assert {page.name for page in FOLDER.iterdir()} == set(pages())
