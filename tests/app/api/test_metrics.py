"""``/metrics``: what it says, and to whom."""

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app.jobs.confinement.process import Confinement
from app.jobs.devices import Device

TOKEN = "0123456789abcdef"
GPU = Device(id="GPU-1", name="NVIDIA L4", used_bytes=2**30, total_bytes=24 * 2**30)


def samples(answer):
    """Return every sample by its name and the values of its labels, in their own order."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_an_empty_service_shows_every_count_as_zero(client):
    answer = client.get("/metrics")

    shown = samples(answer)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert shown["espalier_jobs", "queued", "small"] == 0
    assert shown["espalier_jobs_ended_total", "failed"] == 0
    assert shown["espalier_queue_wait_seconds_bucket", "+Inf"] == 0
    assert shown["espalier_stage_seconds_count", "exporting"] == 0
    assert set(shown.values()) == {0}


@pytest.mark.usefixtures("job")
def test_what_waits_and_what_was_done_is_shown(client, model, data, worker):
    done = client.submit(model, data).json()["id"]
    worker.succeed(done, b"0123456789")

    shown = samples(client.get("/metrics"))

    assert shown["espalier_jobs", "queued", "small"] == 1
    assert shown["espalier_queue_oldest_wait_seconds", "small"] >= 0
    assert shown["espalier_jobs_ended_total", "succeeded"] == 1
    assert shown["espalier_queue_wait_seconds_count",] == 1
    assert shown["espalier_queue_wait_seconds_bucket", "+Inf"] == 1
    assert shown["espalier_stage_seconds_count", "starting"] == 1
    assert shown["espalier_published_bytes_total",] == 10
    assert shown["espalier_received_bytes_total", "dataset"] == len(data)


def test_a_large_job_waits_in_a_lane_of_its_own(backends, calling, model):
    with calling(replace(backends, large_job_bytes=len(model))) as client:
        client.submit(model)

        assert samples(client.get("/metrics"))["espalier_jobs", "large", "queued"] == 1


def test_a_gpu_that_two_workers_have_is_shown_once(client, backends):
    confined = Confinement(landlock=7, seccomp=True)
    for name in ("1@host", "2@host"):
        backends.workers.here(name, confined, lease=timedelta(minutes=1), devices=[GPU])

    shown = samples(client.get("/metrics"))

    assert shown["espalier_workers",] == 2
    assert shown["espalier_gpu_memory_used_bytes", "GPU-1", "NVIDIA L4", "host"] == 2**30
    assert sum(name == "espalier_gpu_memory_total_bytes" for name, *_ in shown) == 1


def test_who_asks_for_openmetrics_gets_it(client):
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})

    families = list(openmetrics.text_string_to_metric_families(answer.text))
    assert "espalier_jobs" in {family.name for family in families}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_no_label_names_a_tenant(backends, calling, job):
    backends.keys.create("secretive")

    with calling(replace(backends, metrics_token=TOKEN)) as client:
        text = client.get("/metrics", headers=bearer(TOKEN)).text

    assert 'status="queued"' in text
    assert "local" not in text
    assert "secretive" not in text
    assert job["id"] not in text


def test_with_a_token_only_the_token_opens_it(backends, calling):
    with calling(replace(backends, metrics_token=TOKEN)) as client:
        answers = {
            name: client.get("/metrics", headers=headers).status_code
            for name, headers in {
                "token": bearer(TOKEN),
                "none": {},
                "other": bearer(TOKEN[::-1]),
            }.items()
        }

    assert answers == {"token": 200, "none": 401, "other": 401}


@pytest.mark.parametrize("shown", ["nothing", "the key of a tenant"])
def test_once_there_is_a_key_nobody_reads_it_without_the_token(backends, calling, shown):
    key = backends.keys.create("research")
    headers = {} if shown == "nothing" else bearer(key)

    with calling(backends) as client:
        assert client.get("/metrics", headers=headers).status_code == 401


def test_a_page_of_another_host_does_not_read_it(client):
    assert client.get("/metrics", headers={"Origin": "https://example.org"}).status_code == 401
