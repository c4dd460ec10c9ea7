"""What ``bench.hostile`` complains of, on outcomes that are made up."""

from dataclasses import replace

import pytest

from bench.hostile.case import Case, Expected
from bench.hostile.findings import Findings
from bench.hostile.visits import Outcome

BAD = Case(name="bad")
VALID = Case(name="valid", expected=Expected.SUCCESS)
MUTATED = Case(name="mutated", expected=Expected.JUDGEMENT)


def refused(case, status=415, code="unknown_class"):
    return Outcome(case=case, status=status, code=code, seconds=1.0)


def ended(case, status, code=None):
    return Outcome(
        case=case, status=202, code=code, seconds=2.0, job_id="job_1", ended=status, sha256="a"
    )


def taken(case):
    return Outcome(case=case, status=200, code=None, seconds=1.0)


CONTROL = ended(VALID, "succeeded")
CLEAN = Findings(
    outcomes=[refused(BAD), ended(BAD, "failed", "not_loadable"), taken(MUTATED)],
    objections={},
    controls=(CONTROL, CONTROL),
    server_errors=[],
    ended=[],
    markers=[],
    secrets=[],
)


def test_of_a_run_that_went_well_there_is_nothing_to_say():
    assert list(CLEAN.complaints()) == []
    assert CLEAN.figures == {
        "cases": 3,
        "server_errors": 0,
        "deaths": 0,
        "succeeded_bad": 0,
        "markers": 0,
        "secrets": 0,
        "valid_failed": 0,
        "slowest_refusal_seconds": 2.0,
    }


@pytest.mark.parametrize(
    ("figure", "changed"),
    [
        pytest.param("server_errors", {"server_errors": ["500"]}, id="a 500"),
        pytest.param("deaths", {"ended": ["API"]}, id="a part that ended"),
        pytest.param("deaths", {"outcomes": [refused(BAD, 415, "check_crashed")]}, id="a check"),
        pytest.param("succeeded_bad", {"outcomes": [ended(BAD, "succeeded")]}, id="bad, and taken"),
        pytest.param("succeeded_bad", {"outcomes": [ended(BAD, None)]}, id="a job that hangs"),
        pytest.param("succeeded_bad", {"outcomes": [refused(BAD, 415, None)]}, id="no code"),
        pytest.param("succeeded_bad", {"outcomes": [refused(BAD, 503)]}, id="not its fault"),
        pytest.param("succeeded_bad", {"objections": {"mutated": "NaN"}}, id="Keras objects"),
        pytest.param("succeeded_bad", {"outcomes": [ended(MUTATED, "succeeded")]}, id="and taken"),
        pytest.param("markers", {"markers": ["lambda"]}, id="code that ran"),
        pytest.param("secrets", {"secrets": ["api.log"]}, id="a secret in a log"),
        pytest.param("valid_failed", {"outcomes": [refused(VALID)]}, id="valid, and refused"),
        pytest.param(
            "valid_failed", {"controls": (CONTROL, replace(CONTROL, sha256="b"))}, id="another file"
        ),
    ],
)
def test_what_should_not_be_is_counted(figure, changed):
    findings = replace(CLEAN, **changed)

    assert findings.figures[figure] == 1
    assert len(list(findings.complaints())) == 1
