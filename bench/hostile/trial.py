"""All cases between two control jobs."""

from __future__ import annotations

from collections.abc import Iterable

from bench.hostile.case import Case, Expected
from bench.hostile.findings import Findings
from bench.hostile.judge import objections
from bench.hostile.originals import Originals
from bench.hostile.planted import Planted
from bench.hostile.visits import Visitor

_CONTROL = Case(name="the control job", expected=Expected.SUCCESS)


def tried(url: str, cases: Iterable[Case], *, valid: Originals, planted: Planted) -> Findings:
    """Send everything and say what was found; processes that ended, its caller has to see.

    Of what is to be judged, jobs are made only where plain Keras or NumPy objects to a file that
    the service would take: those have to fail.

    Args:
        url: Of the API.
        cases: What is sent; what they leave out is ``valid``.
        valid: The files of the control job.
        planted: What must not run, and must not be in any answer.
    """
    known, unknown = _divided(cases)
    visitor = Visitor(url, valid, planted)
    [before] = visitor.visit([_CONTROL])
    knocked = visitor.knock(unknown)
    objected = objections(each.case for each in knocked if each.is_taken)
    outcomes = [
        *visitor.visit(known),
        *(each for each in knocked if each.case.name not in objected),
        *visitor.visit(each.case for each in knocked if each.case.name in objected),
    ]
    [after] = visitor.visit([_CONTROL])
    visitor.close()
    return Findings(
        outcomes=outcomes,
        objections=objected,
        controls=(before, after),
        server_errors=visitor.server_errors,
        ended=(),
        markers=planted.markers(),
        secrets=planted.found(),
    )


def _divided(cases: Iterable[Case]) -> tuple[list[Case], list[Case]]:
    """Return those of which it is known what has to become, and the others."""
    known: list[Case] = []
    unknown: list[Case] = []
    for case in cases:
        (unknown if case.expected is Expected.JUDGEMENT else known).append(case)
    return known, unknown
