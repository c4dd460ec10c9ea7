import json
import time

import pytest


@pytest.fixture
def job_id(served):
    return served.queue()


def test_jobs_are_listed_the_newest_first(served, espalier):
    older = served.queue()
    time.sleep(0.01)
    newer = served.queue()

    lines = espalier("jobs", "--limit", "2").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:]] == [newer, older]


def test_jobs_of_one_status_as_json(served, espalier, job_id):
    served.fail(job_id)

    listed = json.loads(espalier("jobs", "--status", "failed", "--json").stdout)

    assert listed[0]["id"] == job_id
    assert {job["status"] for job in listed} == {"failed"}


def test_watching_a_job_that_has_ended_prints_what_came_of_it(served, espalier, job_id):
    served.succeed(job_id)

    answer = espalier("watch", job_id)

    assert answer.exit_code == 0
    assert "accuracy on 360 test samples" in answer.stdout


def test_a_queued_job_is_cancelled(espalier, job_id):
    answer = espalier("cancel", job_id)

    assert (answer.exit_code, answer.stdout) == (0, f"{job_id} cancelled\n")


def test_a_job_is_paused_and_goes_on(espalier, job_id):
    assert espalier("pause", job_id).stdout == f"{job_id} paused\n"
    assert espalier("resume", job_id).stdout == f"{job_id} queued\n"


def test_a_job_that_is_not_there_cannot_be_cancelled(espalier):
    answer = espalier("cancel", "job_none")

    assert answer.exit_code == 1
    assert answer.stderr.startswith("espalier: ")


def test_files_are_downloaded_and_their_paths_printed(served, espalier, job_id, tmp_path):
    served.succeed(job_id, b"content")

    answer = espalier("download", job_id, "-o", tmp_path / "there")

    assert answer.stdout.strip() == str(tmp_path / "there" / "model.keras")
    assert (tmp_path / "there" / "model.keras").read_bytes() == b"content"


def test_a_file_that_a_job_does_not_have_cannot_be_downloaded(served, espalier, job_id):
    served.succeed(job_id)

    assert espalier("download", job_id, "--name", "model.tflite").exit_code == 1
