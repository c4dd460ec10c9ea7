import json
import threading

import pytest

STREAM = {"Accept": "text/event-stream"}


def _events(answer):
    """Split a stream into its events, each a dict of its fields."""
    blocks = answer.text.strip().split("\n\n")
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


@pytest.fixture
def ended(worker, job):
    """A job with a few events behind it."""
    worker.fail(job["id"])
    return f"/v1/jobs/{job['id']}/events"


def test_the_list_tells_in_order_what_happened(client, ended):
    events = client.get(ended).json()

    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    statuses = [event["data"]["status"] for event in events if event["kind"] == "status"]
    assert statuses == ["queued", "running", "failed"]


def test_the_list_can_begin_later(client, ended):
    everything = client.get(ended).json()

    assert client.get(ended, params={"after": 1}).json() == everything[1:]


def test_the_stream_tells_the_same_and_ends_with_the_job(client, ended):
    answer = client.get(ended, headers=STREAM)

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    streamed = _events(answer)
    assert [json.loads(event["data"]) for event in streamed] == client.get(ended).json()
    assert [event["id"] for event in streamed] == ["1", "2", "3"]
    assert streamed[-1]["event"] == "status"


def test_a_stream_is_taken_up_after_the_last_event(client, ended):
    streamed = _events(client.get(ended, headers={**STREAM, "Last-Event-ID": "2"}))

    assert [event["id"] for event in streamed] == ["3"]


def test_a_stream_that_has_told_everything_stays_closed(client, ended):
    answer = client.get(ended, headers={**STREAM, "Last-Event-ID": "3"})

    assert answer.status_code == 204


def test_a_stream_tells_what_happens_while_it_is_open(client, worker, job):
    url = f"/v1/jobs/{job['id']}/events"
    later = threading.Timer(0.1, worker.fail, [job["id"]])

    later.start()
    streamed = _events(client.get(url, headers={**STREAM, "Last-Event-ID": "1"}))
    later.join()

    assert [json.loads(event["data"])["data"]["status"] for event in streamed] == [
        "running",
        "failed",
    ]


def test_a_stream_ends_when_its_job_is_deleted(client, services, job):
    def remove():
        services.store.request_cancel(job["id"])
        services.store.delete_job(job["id"])

    client._transport.raise_server_exceptions = True
    later = threading.Timer(0.1, remove)

    later.start()
    answer = client.get(f"/v1/jobs/{job['id']}/events", headers=STREAM)
    later.join()

    assert answer.status_code == 200


def test_an_open_stream_shows_that_it_lives(client, worker, job, monkeypatch):
    monkeypatch.setattr("app.api.events._KEEP_ALIVE_SECONDS", 0.0)
    later = threading.Timer(0.6, worker.fail, [job["id"]])

    later.start()
    answer = client.get(f"/v1/jobs/{job['id']}/events", headers=STREAM)
    later.join()

    assert "\n: " in answer.text


@pytest.mark.parametrize("last", ["-1", "three"])
def test_a_last_event_that_cannot_be_is_refused(client, ended, last):
    answer = client.get(ended, headers={**STREAM, "Last-Event-ID": last})

    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(2**63 - 1, 200, id="the highest"),
        pytest.param(2**63, 422, id="one more"),
        pytest.param(10**30, 422, id="many more"),
    ],
)
def test_an_id_that_no_event_can_have_is_refused(client, job, number, status):
    path = f"/v1/jobs/{job['id']}/events"

    asked = client.get(path, params={"after": number})
    taken_up = client.get(path, headers={"Last-Event-ID": str(number)})

    assert (asked.status_code, taken_up.status_code) == (status, status)
