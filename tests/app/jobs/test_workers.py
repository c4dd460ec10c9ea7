from datetime import timedelta

import pytest

from app.jobs.confinement.process import Confinement
from app.jobs.workers import Workers

MINUTE = timedelta(minutes=1)
FULL = Confinement(landlock=7, seccomp=True)
OLD = Confinement(landlock=4, seccomp=True)
BARE = Confinement(landlock=5, seccomp=False)


@pytest.fixture
def workers(engine, clock):
    return Workers(engine, clock=clock)


def test_without_workers_nothing_is_known(workers):
    assert workers.confinement() is None


@pytest.mark.parametrize(
    ("here", "holds"),
    [
        pytest.param([FULL], FULL, id="one"),
        pytest.param([FULL, OLD], OLD, id="an older kernel"),
        pytest.param([FULL, OLD, BARE], Confinement(landlock=4, seccomp=False), id="each lacks"),
    ],
)
def test_what_holds_is_what_holds_for_every_worker(workers, here, holds):
    for number, confinement in enumerate(here):
        workers.here(f"w{number}", confinement, lease=MINUTE)

    assert workers.confinement() == holds


def test_a_worker_counts_as_it_was_seen_last(workers):
    workers.here("w1", BARE, lease=MINUTE)
    workers.here("w1", FULL, lease=MINUTE)

    assert workers.confinement() == FULL


def test_a_silent_worker_counts_no_more(workers, clock):
    workers.here("gone", BARE, lease=MINUTE)
    clock.advance(45)
    workers.here("there", FULL, lease=MINUTE)
    clock.advance(30)

    assert workers.confinement() == FULL
