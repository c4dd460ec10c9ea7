"""What a stranger does, by the public API alone, and what the service answered."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import httpx2

from bench.hostile.case import Case, Expected
from bench.hostile.originals import Originals
from bench.hostile.planted import Planted

_AT_ONCE = 2
_LOOK_SECONDS = 0.5
#: A service that ends no job for so long will end none.
_PATIENCE_SECONDS = 600.0
_FINAL = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case."""

    case: Case
    status: int  #: Of the last answer at the door.
    code: str | None  #: Of the refusal, or of the failure of the job.
    seconds: (
        float  #: That the answer took; of a job that ended, the time that a worker took for it.
    )
    job_id: str | None = None  #: Where it was accepted.
    ended: str | None = None  #: How the job ended; ``None`` where there is none, or it never did.
    sha256: str | None = None  #: Of the file that came out.

    @property
    def is_refusal(self) -> bool:
        """Whether it was refused in words, at the door or later."""
        is_its_fault = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        at_the_door = self.job_id is None and is_its_fault
        return self.code is not None and (at_the_door or self.ended == "failed")

    @property
    def is_success(self) -> bool:
        """Whether a file came out."""
        return self.ended == "succeeded"

    @property
    def is_taken(self) -> bool:
        """Whether a job would have been made of it."""
        return self.job_id is None and self.status == HTTPStatus.OK


class Visitor:
    """Sends cases and looks at every byte that comes back.

    Args:
        url: Of the API.
        originals: What a case leaves out; uploaded once.
        planted: What must not be in any answer.
    """

    def __init__(self, url: str, originals: Originals, planted: Planted) -> None:
        self._client = httpx2.Client(base_url=url, timeout=120)
        self._planted = planted
        self.server_errors: list[str] = []  #: Which calls were answered with a 5xx.
        self._model_id = self._uploaded("models", "model", originals.keras)
        self._dataset_id = self._uploaded("datasets", "data", originals.npz)

    def close(self) -> None:
        """Call no more."""
        self._client.close()

    def visit(self, cases: Iterable[Case]) -> list[Outcome]:
        """Have jobs made of all of them, and wait for those that are accepted."""
        return self._waited_for(self._sent(cases, "/v1/jobs"))

    def knock(self, cases: Iterable[Case]) -> list[Outcome]:
        """Ask what would become of them; no job is made."""
        return self._sent(cases, "/v1/jobs/preflight")

    def _sent(self, cases: Iterable[Case], path: str) -> list[Outcome]:
        with ThreadPoolExecutor(_AT_ONCE) as senders:
            return list(senders.map(partial(self._send, path=path), cases))

    def _send(self, case: Case, *, path: str) -> Outcome:
        """Order what the case asks for; upload first what is not valid in it."""
        began_at = time.monotonic()
        ids = {"model_id": self._model_id, "dataset_id": self._dataset_id}
        uploads = (
            ("models", "model", "model_id", case.model),
            ("datasets", "data", "dataset_id", case.data),
        )
        for kind, part, name, content in uploads:
            if content is None:
                continue
            answer = self._upload(case, kind, part, content)
            if not answer.is_success:
                return _refused(case, answer, time.monotonic() - began_at)
            ids[name] = answer.json()["id"]
        # Put together by hand: a spec need not be JSON.
        body = f'{json.dumps(ids)[:-1]}, "spec": {case.spec}}}'
        answer = self._called(
            case,
            "POST",
            path,
            content=body.encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/json"},
        )
        if not answer.is_success:
            return _refused(case, answer, time.monotonic() - began_at)
        job_id = answer.json().get("id")
        return Outcome(case=case, status=answer.status_code, code=None, seconds=0.0, job_id=job_id)

    def _uploaded(self, path: str, part: str, content: bytes) -> str:
        valid = Case(name="the original", expected=Expected.SUCCESS)
        return self._upload(valid, path, part, content).raise_for_status().json()["id"]

    def _upload(self, case: Case, path: str, part: str, content: bytes) -> httpx2.Response:
        return self._called(case, "POST", f"/v1/{path}", files={part: (part, content)})

    def _called(self, case: Case, method: str, path: str, **call: Any) -> httpx2.Response:
        answer = self._client.request(method, path, **call)
        if answer.is_server_error:
            self.server_errors.append(f"{case.name}: {method} {path}: {answer.text:.300}")
        self._planted.look_at(answer.content, f"{case.name}: {method} {path}")
        return answer

    def _waited_for(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes with those of their jobs; a job that hangs is withdrawn."""
        ended: dict[str, Outcome] = {}
        waiting = {each.job_id: each for each in outcomes if each.job_id is not None}
        changed_at = time.monotonic()
        while waiting and time.monotonic() - changed_at < _PATIENCE_SECONDS:
            for job_id, outcome in list(waiting.items()):
                job = self._called(outcome.case, "GET", f"/v1/jobs/{job_id}").json()
                if job["status"] in _FINAL:
                    ended[job_id] = self._ended(waiting.pop(job_id), job)
                    changed_at = time.monotonic()
                else:
                    # They are served in the order in which they came.
                    break
            time.sleep(_LOOK_SECONDS)
        for job_id, outcome in waiting.items():
            self._called(outcome.case, "POST", f"/v1/jobs/{job_id}/cancel")
        return [ended.get(each.job_id or "", each) for each in outcomes]

    def _ended(self, outcome: Outcome, job: dict[str, Any]) -> Outcome:
        for kind in ("events", "metrics", "report", "artifacts"):
            self._called(outcome.case, "GET", f"/v1/jobs/{job['id']}/{kind}")
        sha256 = None
        if job["status"] == "succeeded":
            path = f"/v1/jobs/{job['id']}/artifacts/model.keras"
            sha256 = hashlib.sha256(self._called(outcome.case, "GET", path).content).hexdigest()
        return replace(
            outcome,
            ended=job["status"],
            code=job["failure"] and job["failure"]["code"],
            seconds=_seconds_between(job["started_at"], job["finished_at"]),
            sha256=sha256,
        )


def _refused(case: Case, answer: httpx2.Response, seconds: float) -> Outcome:
    is_problem = answer.headers.get("Content-Type") == "application/problem+json"
    code = answer.json()["code"] if is_problem else None
    return Outcome(case=case, status=answer.status_code, code=code, seconds=seconds)


def _seconds_between(start: str | None, end: str) -> float:
    if start is None:
        return 0.0
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
