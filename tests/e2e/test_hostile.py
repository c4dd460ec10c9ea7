"""Some of what ``bench.hostile`` sends, to the service that the other tests use."""

from itertools import islice

from bench.hostile.case import Expected
from bench.hostile.corpus import corpus
from bench.hostile.mutations import mutations
from bench.hostile.originals import originals
from bench.hostile.planted import Planted
from bench.hostile.trial import tried

_EVERY = 12
_MUTATIONS = 6


def test_what_nobody_should_send_is_refused_and_the_next_job_comes_to_the_same_file(
    address, tmp_path
):
    valid, planted = originals(), Planted(tmp_path)
    hostile = (case for case in corpus(valid, planted) if case.expected is Expected.REFUSAL)
    cases = [*islice(hostile, 0, None, _EVERY), *mutations(valid, count=_MUTATIONS, seed=1)]

    findings = tried(address, cases, valid=valid, planted=planted)

    assert list(findings.complaints()) == []
