"""What ``bench.hostile`` sends."""

import pytest

from bench.hostile.case import Expected
from bench.hostile.corpus import corpus
from bench.hostile.mutations import mutations
from bench.hostile.originals import originals
from bench.hostile.planted import Planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return Planted(tmp_path_factory.mktemp("planted"))


def test_every_case_has_a_name_of_its_own_and_most_are_hostile(planted):
    cases = list(corpus(originals(), planted))

    assert len({case.name for case in cases}) == len(cases)
    assert sum(case.expected is Expected.REFUSAL for case in cases) >= 120
    assert planted.markers() == []


def test_a_seed_always_makes_the_same_mutations():
    first, again, other = (list(mutations(originals(), count=50, seed=seed)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


@pytest.mark.parametrize("spell", [str.encode, lambda text: text.encode("utf-16-le")])
def test_the_secret_is_found_wherever_it_stands(planted, spell):
    planted.look_at(b"nothing" + spell(planted.secret), "here")

    assert "here" in planted.found()
