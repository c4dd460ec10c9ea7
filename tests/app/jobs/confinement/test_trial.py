import subprocess
import sys

import pytest

from app.jobs.confinement import landlock, seccomp, trial
from app.jobs.confinement.process import Confinement
from app.jobs.confinement.trial import UnconfinedError, ascertain, require_complete, tried


def test_what_was_tried_is_what_the_kernel_has():
    assert tried() == Confinement(landlock.version(), seccomp.is_available())


def test_a_kernel_that_refuses_what_it_offers_is_told(monkeypatch):
    command = (sys.executable, "-c", "raise SystemExit('no seccomp for you')")
    monkeypatch.setattr(trial, "_COMMAND", command)

    with pytest.raises(UnconfinedError, match="could not be confined: no seccomp for you"):
        tried()


@pytest.mark.parametrize(
    ("confinement", "words"),
    [
        pytest.param(Confinement(landlock=0, seccomp=True), "no Landlock, seccomp", id="files"),
        pytest.param(Confinement(landlock=2, seccomp=True), "Landlock 2, seccomp", id="old"),
        pytest.param(Confinement(landlock=7, seccomp=False), "Landlock 7, no seccomp", id="calls"),
    ],
)
def test_what_is_missing_is_named(confinement, words):
    with pytest.raises(UnconfinedError, match=f"Received: {words}$"):
        require_complete(confinement)


def test_a_kernel_that_has_everything_will_do():
    require_complete(Confinement(landlock=3, seccomp=True))


def test_only_production_insists(monkeypatch):
    bare = Confinement(landlock=0, seccomp=False)
    monkeypatch.setattr(trial, "tried", lambda: bare)

    assert ascertain(production=False) == bare
    with pytest.raises(UnconfinedError):
        ascertain(production=True)


def test_a_trial_changes_nothing_for_who_asks(tmp_path):
    tried()

    assert subprocess.run([sys.executable, "-c", ""], cwd=tmp_path, check=True).returncode == 0
