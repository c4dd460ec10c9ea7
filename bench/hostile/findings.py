"""What was found, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.hostile.case import Expected
from bench.hostile.visits import Outcome

#: The refusal of a file over which the process that checks it fell.
_CRASHED = "check_crashed"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that there is to say of a run."""

    outcomes: Sequence[Outcome]
    objections: Mapping[str, str]  #: Of plain Keras and NumPy, by name of the case.
    controls: tuple[Outcome, Outcome]  #: The same order, before all others and after them.
    server_errors: Sequence[str]
    ended: Sequence[str]  #: Processes of the service that did.
    markers: Sequence[str]
    secrets: Sequence[str]

    @property
    def figures(self) -> dict[str, float]:
        """The last line."""
        return {
            "cases": len(self.outcomes),
            "server_errors": len(self.server_errors),
            "deaths": len(list(self._deaths())),
            "succeeded_bad": len(list(self._succeeded_bad())),
            "markers": len(self.markers),
            "secrets": len(self.secrets),
            "valid_failed": len(list(self._valid_failed())),
            "slowest_refusal_seconds": round(
                max((each.seconds for each in self.outcomes if each.is_refusal), default=0.0), 1
            ),
        }

    def complaints(self) -> Iterator[str]:
        """Yield a line for each thing that should not be."""
        yield from (f"5xx: {each}" for each in self.server_errors)
        yield from (f"ended: {each}" for each in self._deaths())
        yield from (f"not refused: {each}" for each in self._succeeded_bad())
        yield from (f"ran: {each}" for each in self.markers)
        yield from (f"secret: {each}" for each in self.secrets)
        yield from (f"valid, but: {each}" for each in self._valid_failed())

    def table(self) -> Iterator[str]:
        """Yield a line for each way to end."""
        ways = Counter(_way(each) for each in self.outcomes)
        yield from (f"{way:40}{count:>6}" for way, count in sorted(ways.items()))

    def _deaths(self) -> Iterator[str]:
        yield from self.ended
        yield from (f"check of {each.case.name}" for each in self.outcomes if each.code == _CRASHED)

    def _succeeded_bad(self) -> Iterator[str]:
        for each in self.outcomes:
            objection = self.objections.get(each.case.name)
            is_right = each.is_refusal or (
                each.case.expected is Expected.JUDGEMENT and each.is_taken and objection is None
            )
            if each.case.expected is not Expected.SUCCESS and not is_right:
                yield f"{each.case.name}: {_way(each)}; {objection}"

    def _valid_failed(self) -> Iterator[str]:
        for each in (*self.outcomes, *self.controls):
            if each.case.expected is Expected.SUCCESS and not each.is_success:
                yield f"{each.case.name}: {_way(each)}"
        before, after = self.controls
        if before.sha256 != after.sha256:
            yield f"{after.case.name} came to {after.sha256}, and before to {before.sha256}"


def _way(outcome: Outcome) -> str:
    if outcome.job_id is None:
        return f"{outcome.status} {outcome.code or 'taken'}"
    return f"job {outcome.ended} {outcome.code or ''}".rstrip()
