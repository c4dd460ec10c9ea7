"""The store against a model of a few lines: any order of calls, by callers and several workers."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.jobs.artifacts import StoredCheckpoint, checkpoint_key
from app.jobs.claims import Wish
from app.jobs.database import create_engine
from app.jobs.errors import JobConflictError, LostClaimError
from app.jobs.events import EventKind
from app.jobs.history import HistoryChunk, Scope
from app.jobs.job import _MOVES, Failure, JobStatus, Progress
from app.jobs.lanes import Lane
from app.jobs.store import Store
from app.jobs.tenants import LOCAL
from tests.app.jobs.conftest import LEASE, Caller, Clock

QUEUED, RUNNING, PAUSED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED
SUCCEEDED, FAILED, CANCELLED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED
MAX_ATTEMPTS = 3
FAILURE = Failure(code="training_diverged", message="The loss is NaN.", hint="Learn slower.")


@dataclass
class Expected:
    """What a job should be, by the rules as one would tell them."""

    status: JobStatus = QUEUED
    fence: int = 0
    attempts: int = 0
    cancel: bool = False
    pause: bool = False
    lease_ends: timedelta = timedelta(0)  #: After the beginning.
    steps: list[int] = field(default_factory=list)  #: In the history.
    kept: list[int] = field(default_factory=list)  #: Of them, those up to the checkpoint.
    checkpoint: str | None = None

    def set_down(self):
        """End the attempt as the caller wants."""
        self.status = CANCELLED if self.cancel else PAUSED if self.pause else QUEUED
        if not self.cancel:
            self.pause, self.steps = False, list(self.kept)

    def give_up(self, *, spent):
        """End an attempt that went wrong."""
        if spent >= MAX_ATTEMPTS and not (self.cancel or self.pause):
            self.status = FAILED
        else:
            self.set_down()


class Jobs(RuleBasedStateMachine):
    """Callers submit and change their minds; workers claim, work, die and come back too late."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    @initialize()
    def open_store(self):
        self.engine = create_engine(self.new_url())
        self.clock, self.time = Clock(), timedelta(0)
        self.store = Store(self.engine, max_attempts=MAX_ATTEMPTS, clock=self.clock)
        self.mine = self.store.of(LOCAL)
        self.caller = Caller(self.store, self.mine)
        self.expected = {}
        self.step = 0

    def teardown(self):
        self.engine.dispose()

    # Time and callers

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def let_pass(self, seconds):
        self.clock.advance(seconds)
        self.time += timedelta(seconds=seconds)

    @rule(target=jobs)
    def submit(self):
        job = self.caller.submit()
        self.expected[job.id] = Expected()
        return job.id

    @rule(job_id=jobs)
    def request_cancel(self, job_id):
        job = self.expected[job_id]
        if job.status.is_final:
            self.refused(lambda: self.mine.request_cancel(job_id))
            return
        self.mine.request_cancel(job_id)
        job.cancel = True
        if not self.is_held(job):
            job.status = CANCELLED

    @rule(job_id=jobs)
    def request_pause(self, job_id):
        job = self.expected[job_id]
        if job.status not in {QUEUED, RUNNING} or job.cancel:
            self.refused(lambda: self.mine.request_pause(job_id))
            return
        self.mine.request_pause(job_id)
        job.pause = True
        if not self.is_held(job):
            job.set_down()

    @rule(job_id=jobs)
    def resume(self, job_id):
        job = self.expected[job_id]
        if job.status is PAUSED:
            self.mine.resume(job_id)
            job.status = QUEUED
        elif job.status is RUNNING and job.pause:
            self.mine.resume(job_id)
            job.pause = False
        else:
            self.refused(lambda: self.mine.resume(job_id))

    # Workers

    @rule(target=claims, job_id=jobs, worker=st.sampled_from("abc"))
    def claim(self, job_id, worker):
        job = self.expected[job_id]
        if job.status is RUNNING and not self.is_held(job):
            job.fence += 1
            job.attempts += 1
            job.give_up(spent=job.attempts - 1)
        elif job.status is QUEUED:
            job.fence += 1
            job.attempts += 1
        can = job.status is QUEUED

        claim = self.store.claim(job_id, worker=worker, lease=LEASE)

        assert (claim is not None) == can
        if claim is None:
            return multiple()
        job.status, job.lease_ends = RUNNING, self.time + LEASE
        assert (claim.fence, claim.attempt) == (job.fence, job.attempts)
        assert (claim.checkpoint and claim.checkpoint.key) == job.checkpoint
        return claim

    @rule(claim=claims)
    def beat(self, claim):
        job = self.held(claim, lambda: self.store.heartbeat(claim, lease=LEASE))
        if job is not None:
            wish = self.store.heartbeat(claim, lease=LEASE)
            job.lease_ends = self.time + LEASE
            assert wish is (Wish.CANCEL if job.cancel else Wish.PAUSE if job.pause else Wish.GO_ON)

    @rule(claim=claims)
    def advance(self, claim):
        rows = {"progress": self.progress(), "history": [self.row()]}
        job = self.held(claim, lambda: self.store.record(claim, **rows))
        if job is not None:
            self.store.record(claim, **rows)
            job.steps.append(self.step)

    @rule(claim=claims)
    def reach_checkpoint(self, claim):
        progress, row = self.progress(), self.row()
        key = checkpoint_key(claim.job.id, claim.fence, self.step)
        made = StoredCheckpoint(key=key, sha256="d" * 64, progress=progress)
        job = self.held(claim, lambda: self.store.reached(claim, made, history=[row]))
        if job is not None:
            former = self.store.reached(claim, made, history=[row])
            assert (former and former.key) == job.checkpoint
            job.steps.append(self.step)
            job.kept, job.checkpoint, job.attempts = list(job.steps), key, 1

    @rule(claim=claims)
    def find_checkpoint_broken(self, claim):
        job = self.held(claim, lambda: self.store.begin_anew(claim))
        if job is not None:
            self.store.begin_anew(claim)
            job.steps, job.kept, job.checkpoint = [], [], None

    @rule(claim=consumes(claims))
    def succeed(self, claim):
        job = self.held(claim, lambda: self.store.succeed(claim, self.result, []))
        if job is not None:
            self.store.succeed(claim, self.result, [])
            job.status = SUCCEEDED

    @rule(claim=consumes(claims))
    def fail(self, claim):
        job = self.held(claim, lambda: self.store.fail(claim, FAILURE))
        if job is not None:
            self.store.fail(claim, FAILURE)
            job.status = FAILED

    @rule(claim=claims)
    def release(self, claim):
        job = self.held(claim, lambda: self.store.release(claim))
        if job is not None:
            self.store.release(claim)
            job.attempts -= 1
            job.set_down()

    @rule(claim=claims)
    def hand_back(self, claim):
        job = self.held(claim, lambda: self.store.hand_back(claim, "It died."))
        if job is not None:
            self.store.hand_back(claim, "It died.")
            job.give_up(spent=job.attempts)

    # What holds, whatever happens

    @invariant()
    def jobs_are_as_expected(self):
        for job_id, expected in self.expected.items():
            job = self.store.job(job_id)
            assert job.status is expected.status
            assert (job.finished_at is not None) == job.status.is_final
            assert list(self.mine.history(job_id).steps.get("step", ())) == expected.steps
            if job.status in {QUEUED, PAUSED}:
                assert job.stage is None
                assert (job.progress and job.progress.step) == max(expected.kept, default=None)

    @invariant()
    def events_tell_every_move_and_no_other(self):
        for job_id, expected in self.expected.items():
            events = self.mine.events(job_id)
            told = [event.data["status"] for event in events if event.kind is EventKind.STATUS]
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            assert told[-1] == expected.status
            assert all(after in _MOVES[JobStatus(before)] for before, after in pairwise(told))

    @invariant()
    def whoever_waits_is_rung_for(self):
        waiting = {
            job_id
            for job_id, job in self.expected.items()
            if job.status is QUEUED or (job.status is RUNNING and not self.is_held(job))
        }
        assert set(self.store.due(Lane.SMALL, unrung_for=timedelta(minutes=1), most=100)) == waiting

    def is_held(self, job):
        return job.status is RUNNING and job.lease_ends >= self.time

    def held(self, claim, write):
        """Return the job that the claim holds; where it holds none, try to write all the same."""
        job = self.expected[claim.job.id]
        if job.status is RUNNING and job.fence == claim.fence:
            return job
        with pytest.raises(LostClaimError):
            write()
        return None

    def refused(self, call):
        with pytest.raises(JobConflictError):
            call()

    def progress(self):
        self.step += 1
        return Progress(
            step=self.step, total_steps=10**6, epoch=1, epochs=1, sparsity=0.5, eta_seconds=None
        )

    def row(self):
        return HistoryChunk(scope=Scope.STEP, columns={"step": (self.step,)})


#: Each call takes three times as long on PostgreSQL.
@pytest.mark.parametrize(
    ("kind", "examples"), [("sqlite", 25), ("postgresql", 8)], indirect=["kind"]
)
def test_no_order_of_calls_leads_astray(new_url, result, examples):
    Jobs.new_url, Jobs.result = staticmethod(new_url), result

    run_state_machine_as_test(
        Jobs, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
