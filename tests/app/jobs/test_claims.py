"""Who may write to a job, and how attempts end."""

from datetime import timedelta

import pytest

from app.jobs.artifacts import StoredCheckpoint, checkpoint_key
from app.jobs.claims import Wish
from app.jobs.errors import ArtifactNotFoundError, JobConflictError, LostClaimError
from app.jobs.history import HistoryChunk, Scope
from app.jobs.job import Failure, JobStatus, Notice, Stage
from app.jobs.lanes import Lane

FAILURE = Failure(code="training_diverged", message="The loss is NaN.", hint="Learn slower.")
DIED = "The process that pruned the model was killed."
LOSSES = HistoryChunk(scope=Scope.STEP, columns={"step": (1, 2), "loss": (0.5, 0.4)})


@pytest.fixture
def let_expire(clock, lease):
    """Let every lease run out, and no more."""
    return lambda: clock.advance(lease.total_seconds() + 0.001)


@pytest.fixture
def made(progress):
    """Return a checkpoint that a claim made."""
    return lambda claim: StoredCheckpoint(
        key=checkpoint_key(claim.job.id, claim.fence, progress.step),
        sha256="d" * 64,
        progress=progress,
    )


@pytest.fixture
def reclaim(store, lease):
    return lambda claim: store.claim(claim.job.id, worker="second", lease=lease)


class TestTaking:
    def test_a_claimed_job_is_running(self, store, caller, clock):
        clock.advance(5)

        claim = caller.claimed()

        assert claim.job == store.job(claim.job.id)
        assert claim.job.status is JobStatus.RUNNING
        assert claim.job.started_at == clock.now
        assert (claim.fence, claim.attempt) == (1, 1)

    def test_a_claimed_job_is_not_claimed_again(self, caller, reclaim):
        assert reclaim(caller.claimed()) is None

    def test_a_job_that_is_gone_is_not_claimed(self, store, lease):
        assert store.claim("job_none", worker="w", lease=lease) is None

    def test_a_final_job_is_not_claimed(self, store, caller, reclaim):
        claim = caller.claimed()
        store.fail(claim, FAILURE)

        assert reclaim(claim) is None

    def test_at_the_end_of_its_lease_a_claim_still_holds(self, caller, clock, lease, reclaim):
        claim = caller.claimed()
        clock.advance(lease.total_seconds())

        assert reclaim(claim) is None

    def test_after_its_lease_another_worker_takes_the_job(self, caller, let_expire, reclaim):
        claim = caller.claimed()
        let_expire()

        second = reclaim(claim)

        assert (second.fence, second.attempt) == (2, 2)
        assert second.job.status is JobStatus.RUNNING

    def test_a_heartbeat_keeps_the_claim(self, store, caller, clock, lease, reclaim):
        claim = caller.claimed()
        clock.advance(20)
        store.heartbeat(claim, lease=lease)
        clock.advance(20)

        assert reclaim(claim) is None

    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(lambda store, claim, _: store.release(claim), id="set down"),
            pytest.param(lambda store, claim, _: store.hand_back(claim, DIED), id="given up"),
            pytest.param(lambda _store, _claim, let_expire: let_expire(), id="abandoned"),
        ],
    )
    def test_what_was_worked_counts_over_all_attempts_however_they_end(
        self, store, caller, lease, let_expire, reclaim, end
    ):
        claim = caller.claimed()
        for seconds in (1.5, 2):
            store.heartbeat(claim, lease=lease, worked=timedelta(seconds=seconds))
        end(store, claim, let_expire)
        second = reclaim(claim)
        store.heartbeat(second, lease=lease, worked=timedelta(seconds=4))
        store.release(second)

        third = reclaim(claim)

        worked = [each.worked.total_seconds() for each in (claim, second, third)]
        assert worked == [0, 3.5, 7.5]


class TestLosing:
    @pytest.fixture
    def lost(self, caller, let_expire, reclaim):
        claim = caller.claimed()
        let_expire()
        reclaim(claim)
        return claim

    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(lambda store, claim, **_: store.record(claim), id="record"),
            pytest.param(lambda store, claim, **_: store.fail(claim, FAILURE), id="fail"),
            pytest.param(lambda store, claim, **_: store.cancelled(claim), id="cancelled"),
            pytest.param(lambda store, claim, **_: store.hand_back(claim, DIED), id="hand back"),
            pytest.param(lambda store, claim, **_: store.release(claim), id="release"),
            pytest.param(
                lambda store, claim, lease, **_: store.heartbeat(claim, lease=lease),
                id="heartbeat",
            ),
            pytest.param(
                lambda store, claim, result, **_: store.succeed(claim, result, []), id="succeed"
            ),
            pytest.param(
                lambda store, claim, made, **_: store.reached(claim, made(claim), history=[]),
                id="reached",
            ),
            pytest.param(lambda store, claim, **_: store.begin_anew(claim), id="begin anew"),
        ],
    )
    def test_who_lost_the_claim_writes_nothing(self, store, mine, lost, write, lease, result, made):
        before = store.job(lost.job.id), mine.events(lost.job.id)

        with pytest.raises(LostClaimError, match="claim 1 on the job"):
            write(store, lost, lease=lease, result=result, made=made)

        assert (store.job(lost.job.id), mine.events(lost.job.id)) == before

    def test_a_final_job_takes_no_more_writes(self, store, caller):
        claim = caller.claimed()
        store.fail(claim, FAILURE)

        with pytest.raises(LostClaimError):
            store.record(claim, stage=Stage.EXPORTING)

    def test_an_expired_claim_that_nobody_took_still_holds(self, store, caller, let_expire):
        claim = caller.claimed()
        let_expire()

        store.record(claim, stage=Stage.EXPORTING)

        assert store.job(claim.job.id).stage is Stage.EXPORTING


class TestTryingAgain:
    def test_a_handed_back_job_waits_as_if_new_but_says_so(self, store, mine, caller, progress):
        claim = caller.claimed()
        store.record(claim, stage=Stage.FINE_TUNING, progress=progress, history=[LOSSES])

        job = store.hand_back(claim, DIED)

        assert job == store.job(job.id)
        assert (job.status, job.stage, job.progress) == (JobStatus.QUEUED, None, None)
        assert job.warnings == (
            Notice(code="tried_again", message=f"{DIED} The job was started again."),
        )
        assert mine.history(job.id).steps == {}

    def test_a_new_attempt_after_a_lost_lease_begins_anew(
        self, store, mine, caller, progress, let_expire, reclaim
    ):
        claim = caller.claimed()
        store.record(claim, stage=Stage.FINE_TUNING, progress=progress, history=[LOSSES])
        let_expire()

        second = reclaim(claim)

        assert (second.job.stage, second.job.progress) == (None, None)
        assert mine.history(second.job.id).steps == {}
        assert second.job.warnings[0].message.startswith("The worker that held the job stopped")
        assert second.job.started_at == claim.job.started_at

    def test_for_a_released_job_a_worker_is_rung_once(self, store, caller):
        claim = caller.claimed()
        store.release(claim)
        before = store.due(Lane.SMALL, unrung_for=timedelta(minutes=1), most=10)

        store.rang(claim.job.id)

        assert before == [claim.job.id]
        assert store.due(Lane.SMALL, unrung_for=timedelta(minutes=1), most=10) == []

    def test_for_an_abandoned_job_a_worker_is_rung_as_soon_as_its_lease_is_over(
        self, store, caller, let_expire
    ):
        claim = caller.claimed()
        store.rang(claim.job.id)

        let_expire()

        assert store.due(Lane.SMALL, unrung_for=timedelta(minutes=1), most=10) == [claim.job.id]
        store.rang(claim.job.id)
        assert store.due(Lane.SMALL, unrung_for=timedelta(minutes=1), most=10) == []

    def test_after_the_last_attempt_the_job_fails_with_words(self, store, caller, reclaim):
        claim = caller.claimed()
        for _ in range(2):
            store.hand_back(claim, DIED)
            claim = reclaim(claim)

        job = store.hand_back(claim, DIED)

        assert job.status is JobStatus.FAILED
        assert job.failure.code == "runner_died"
        assert job.failure.message == f"{DIED} That was attempt 3 of 3."
        assert "batch_size" in job.failure.hint

    def test_silent_workers_use_up_the_attempts_too(self, store, caller, let_expire, reclaim):
        claim = caller.claimed()
        for _ in range(2):
            let_expire()
            claim = reclaim(claim)
        let_expire()

        assert reclaim(claim) is None
        assert store.job(claim.job.id).failure.code == "runner_died"
        with pytest.raises(LostClaimError):
            store.record(claim)

    def test_a_released_attempt_does_not_count(self, store, caller, reclaim):
        claim = caller.claimed()
        for _ in range(10):
            assert store.release(claim).status is JobStatus.QUEUED
            claim = reclaim(claim)

        assert claim.attempt == 1
        assert claim.fence == 11
        assert claim.job.warnings == ()


class TestEnding:
    def test_success_publishes_result_and_files_at_once(
        self, store, mine, caller, clock, result, artifact
    ):
        claim = caller.claimed()
        store.record(claim, stage=Stage.VERIFYING)
        clock.advance(60)

        job = store.succeed(claim, result, [artifact(claim)])

        assert job == store.job(job.id)
        assert (job.status, job.stage, job.finished_at) == (JobStatus.SUCCEEDED, None, clock.now)
        assert job.result == result
        assert mine.artifacts(job.id) == [artifact(claim)]
        assert mine.artifact(job.id, "model.keras") == artifact(claim)

    def test_a_file_that_a_job_has_not_is_not_found(self, store, mine, caller, result, artifact):
        claim = caller.claimed()
        store.succeed(claim, result, [artifact(claim)])

        with pytest.raises(ArtifactNotFoundError, match=r"has no artifact 'model\.onnx'"):
            mine.artifact(claim.job.id, "model.onnx")

    def test_a_failed_job_says_why_and_where(self, store, caller):
        claim = caller.claimed()
        store.record(claim, stage=Stage.FINE_TUNING)

        job = store.fail(claim, FAILURE)

        assert job == store.job(job.id)
        assert (job.status, job.stage, job.failure) == (
            JobStatus.FAILED,
            Stage.FINE_TUNING,
            FAILURE,
        )


class TestCancelling:
    def test_a_queued_job_is_cancelled_at_once(self, store, mine, caller, clock):
        job = mine.request_cancel(caller.submit().id)

        assert job == store.job(job.id)
        assert (job.status, job.finished_at) == (JobStatus.CANCELLED, clock.now)

    def test_a_running_job_goes_on_until_its_worker_sees(self, store, mine, caller, lease):
        claim = caller.claimed()
        assert store.heartbeat(claim, lease=lease) is Wish.GO_ON

        assert mine.request_cancel(claim.job.id).status is JobStatus.RUNNING
        assert mine.request_cancel(claim.job.id).status is JobStatus.RUNNING

        assert store.heartbeat(claim, lease=lease) is Wish.CANCEL
        assert store.cancelled(claim).status is JobStatus.CANCELLED

    def test_a_job_whose_worker_is_gone_is_cancelled_at_once(self, mine, caller, let_expire):
        claim = caller.claimed()
        let_expire()

        assert mine.request_cancel(claim.job.id).status is JobStatus.CANCELLED

    def test_a_final_job_cannot_be_cancelled(self, store, mine, caller):
        claim = caller.claimed()
        store.fail(claim, FAILURE)

        with pytest.raises(JobConflictError, match="a failed job cannot become cancelled"):
            mine.request_cancel(claim.job.id)

    def test_a_cancelled_job_is_not_tried_again(self, store, mine, caller):
        claim = caller.claimed()
        mine.request_cancel(claim.job.id)

        assert store.hand_back(claim, DIED).status is JobStatus.CANCELLED

    def test_a_cancelled_job_is_not_left_behind_by_a_stopping_worker(self, store, mine, caller):
        claim = caller.claimed()
        mine.request_cancel(claim.job.id)

        assert store.release(claim).status is JobStatus.CANCELLED

    def test_who_claims_a_job_that_is_to_be_cancelled_cancels_it(
        self, store, mine, caller, let_expire, reclaim
    ):
        claim = caller.claimed()
        mine.request_cancel(claim.job.id)
        let_expire()

        assert reclaim(claim) is None
        assert store.job(claim.job.id).status is JobStatus.CANCELLED

    def test_a_job_that_was_done_before_it_was_told_succeeds(self, store, mine, caller, result):
        claim = caller.claimed()
        mine.request_cancel(claim.job.id)

        assert store.succeed(claim, result, []).status is JobStatus.SUCCEEDED


class TestCheckpoints:
    @pytest.mark.parametrize("end", ["hand back", "release", "expire"])
    def test_the_next_attempt_goes_on_at_the_last_one(
        self, store, mine, caller, made, let_expire, reclaim, end
    ):
        claim = caller.claimed()
        store.reached(claim, made(claim), history=[LOSSES])
        store.record(claim, stage=Stage.FINE_TUNING, history=[LOSSES, LOSSES])

        match end:
            case "hand back":
                store.hand_back(claim, DIED)
            case "release":
                store.release(claim)
            case "expire":
                let_expire()
        second = reclaim(claim)

        assert second.checkpoint == made(claim)
        assert second.job.progress == made(claim).progress
        assert second.job.stage is None
        assert mine.history(claim.job.id).steps["step"] == LOSSES.columns["step"]

    def test_it_says_so_to_whoever_waits(self, store, caller, made):
        claim = caller.claimed()
        store.reached(claim, made(claim), history=[])

        job = store.hand_back(claim, DIED)

        assert job.warnings[-1].message == f"{DIED} The job goes on at its last checkpoint."

    def test_each_takes_the_place_of_the_former(self, store, caller, made, reclaim):
        claim = caller.claimed()
        first = made(claim)
        second = first.model_copy(update={"key": checkpoint_key(claim.job.id, 1, 6)})

        assert store.reached(claim, first, history=[]) is None
        assert store.reached(claim, second, history=[]) == first
        store.release(claim)

        assert reclaim(claim).checkpoint == second

    def test_who_gets_further_has_all_attempts_again(self, store, caller, made, reclaim):
        claim = caller.claimed()
        for _ in range(10):
            store.reached(claim, made(claim), history=[])
            assert store.hand_back(claim, DIED).status is JobStatus.QUEUED
            claim = reclaim(claim)

    def test_who_gets_no_further_has_not(self, store, caller, made, reclaim):
        claim = caller.claimed()
        store.reached(claim, made(claim), history=[])
        for _ in range(2):
            store.hand_back(claim, DIED)
            claim = reclaim(claim)

        assert store.hand_back(claim, DIED).status is JobStatus.FAILED

    def test_one_that_cannot_be_read_is_forgotten_with_its_history(
        self, store, mine, caller, made, reclaim
    ):
        claim = caller.claimed()
        store.reached(claim, made(claim), history=[LOSSES])

        store.begin_anew(claim)
        store.release(claim)

        second = reclaim(claim)
        assert (second.checkpoint, second.job.progress) == (None, None)
        assert mine.history(claim.job.id).steps == {}


class TestPausing:
    def test_a_queued_job_is_paused_at_once(self, store, mine, caller, reclaim):
        claim = caller.claimed()
        store.release(claim)

        assert mine.request_pause(claim.job.id).status is JobStatus.PAUSED
        assert reclaim(claim) is None

    def test_a_running_job_goes_on_until_its_worker_sees(self, store, mine, caller, lease):
        claim = caller.claimed()

        assert mine.request_pause(claim.job.id).status is JobStatus.RUNNING
        assert mine.request_pause(claim.job.id).status is JobStatus.RUNNING

        assert store.heartbeat(claim, lease=lease) is Wish.PAUSE
        assert store.release(claim).status is JobStatus.PAUSED

    def test_a_job_whose_worker_is_gone_is_paused_at_once(self, store, mine, caller, let_expire):
        claim = caller.claimed()
        let_expire()

        assert mine.request_pause(claim.job.id).status is JobStatus.PAUSED
        with pytest.raises(LostClaimError):
            store.record(claim)

    @pytest.mark.parametrize("end", ["hand back", "expire"])
    def test_a_job_that_is_to_be_paused_is_not_tried_again(
        self, store, mine, caller, let_expire, reclaim, end
    ):
        claim = caller.claimed()
        mine.request_pause(claim.job.id)

        if end == "hand back":
            store.hand_back(claim, DIED)
        else:
            let_expire()
            assert reclaim(claim) is None

        assert store.job(claim.job.id).status is JobStatus.PAUSED

    def test_a_resumed_job_is_queued_and_goes_on_where_it_was(
        self, store, mine, caller, made, reclaim
    ):
        claim = caller.claimed()
        store.reached(claim, made(claim), history=[])
        mine.request_pause(claim.job.id)
        paused = store.release(claim)

        resumed = mine.resume(claim.job.id)

        assert (paused.progress, resumed.progress) == (made(claim).progress,) * 2
        assert resumed.status is JobStatus.QUEUED
        second = reclaim(claim)
        assert (second.checkpoint, second.attempt) == (made(claim), 1)

    def test_pausing_can_be_taken_back_before_the_worker_sees(self, store, mine, caller, lease):
        claim = caller.claimed()
        mine.request_pause(claim.job.id)

        assert mine.resume(claim.job.id).status is JobStatus.RUNNING

        assert store.heartbeat(claim, lease=lease) is Wish.GO_ON

    def test_a_job_that_was_done_before_it_was_told_succeeds(self, store, mine, caller, result):
        claim = caller.claimed()
        mine.request_pause(claim.job.id)

        assert store.succeed(claim, result, []).status is JobStatus.SUCCEEDED

    def test_cancelling_goes_before_pausing(self, store, mine, caller, lease):
        claim = caller.claimed()
        mine.request_pause(claim.job.id)
        mine.request_cancel(claim.job.id)

        assert store.heartbeat(claim, lease=lease) is Wish.CANCEL
        with pytest.raises(JobConflictError, match="cancelling was asked for"):
            mine.request_pause(claim.job.id)
        assert store.release(claim).status is JobStatus.CANCELLED

    def test_a_paused_job_can_be_cancelled(self, mine, caller):
        job = mine.request_pause(caller.submit().id)

        assert mine.request_cancel(job.id).status is JobStatus.CANCELLED

    @pytest.mark.parametrize("asked", ["request_pause", "resume"])
    def test_a_final_job_can_be_neither_paused_nor_resumed(self, store, mine, caller, asked):
        claim = caller.claimed()
        store.fail(claim, FAILURE)

        with pytest.raises(JobConflictError, match="a failed job cannot"):
            getattr(mine, asked)(claim.job.id)

    def test_a_job_that_ended_before_it_could_be_paused_is_not_resumed(
        self, store, mine, caller, result
    ):
        claim = caller.claimed()
        mine.request_pause(claim.job.id)
        store.succeed(claim, result, [])

        with pytest.raises(JobConflictError, match="a succeeded job cannot be resumed"):
            mine.resume(claim.job.id)

    def test_who_is_not_paused_is_not_resumed(self, mine, caller):
        claim = caller.claimed()

        with pytest.raises(JobConflictError, match="a running job cannot be resumed"):
            mine.resume(claim.job.id)
