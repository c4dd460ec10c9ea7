import ipaddress
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.courier import Courier, UnreachableReceiverError, public_address
from app.jobs.database import create_engine, migrate
from app.jobs.delivery import WAITS, DeliveryStatus
from app.jobs.ids import new_id
from app.jobs.intake.model import summarise_model
from app.jobs.job import FileRef, Job
from app.jobs.receivers import is_public, leads_inside
from app.jobs.spec import JobSpec, Webhook
from app.jobs.store import Store
from app.jobs.tenants import LOCAL
from app.jobs.uploads import StoredModel
from app.jobs.webhooks import Webhooks
from tests.app.api.conftest import DATA


class Clock:
    """What time it is, for who is asked."""

    def __init__(self):
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self, _connection):
        return self.now


class Receiver:
    """A real one, which remembers what it got."""

    def __init__(self):
        self.got = []
        self.answers = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((body.decode(), dict(self.headers)))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Location", receiver.url)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self._server.server_port}/hook?of=espalier"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    migrate(url)
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def mine(engine, clock):
    """The store as the one tenant there is sees it."""
    store = Store(engine, clock=clock).of(LOCAL)
    store.add_model(
        StoredModel(
            ref=_REF,
            key="models/mdl_1/model.keras",
            created_at=clock.now,
            summary=summarise_model(DATA / "small.keras"),
            uploaded_with=None,
        )
    )
    return store


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def courier(engine, clock):
    """One that is sent by hand, and may go anywhere."""
    return Courier(Webhooks(engine, clock=clock), allow_private=True)


@pytest.fixture
def ended(mine, receiver, clock):
    """A job that has just been cancelled, and wanted its webhook to be told."""
    spec = JobSpec(webhook=Webhook(url=receiver.url))
    job = Job(id=new_id("job"), created_at=clock.now, model=_REF, spec=spec)
    mine.submit(job)
    return mine.request_cancel(job.id)


_REF = FileRef(id="mdl_1", filename="m.keras", bytes=1, sha256="0" * 64)


def test_a_verifier_of_standard_webhooks_takes_the_message(mine, courier, receiver, ended):
    courier.deliver_due()

    ((body, headers),) = receiver.got
    message = Verifier(mine.webhook_secret()).verify(body, headers)
    assert message["type"] == "job.cancelled"
    assert message["data"] == {"job_id": ended.id, "status": "cancelled"}
    (delivery,) = mine.deliveries(ended.id)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert [attempt.status for attempt in delivery.attempts] == [204]


def test_the_verifier_refuses_a_message_that_was_changed(mine, courier, receiver, ended):  # noqa: ARG001
    courier.deliver_due()

    ((body, headers),) = receiver.got
    with pytest.raises(WebhookVerificationError):
        Verifier(mine.webhook_secret()).verify(body.replace("cancelled", "succeeded"), headers)


def test_what_did_not_arrive_is_sent_again_as_the_same_message(
    mine, courier, receiver, ended, clock
):
    receiver.answers = [500, 503]

    courier.deliver_due()
    courier.deliver_due()
    assert len(receiver.got) == 1
    clock.now += WAITS[0]
    courier.deliver_due()
    clock.now += WAITS[1]
    courier.deliver_due()

    assert len({(body, headers["webhook-id"]) for body, headers in receiver.got}) == 1
    (delivery,) = mine.deliveries(ended.id)
    assert [attempt.status for attempt in delivery.attempts] == [500, 503, 204]
    assert delivery.next_attempt_at is None


def test_a_receiver_that_is_gone_is_left_alone(mine, courier, receiver, ended):
    receiver.answers = [410]

    courier.deliver_due()

    assert mine.deliveries(ended.id)[0].status is DeliveryStatus.GIVEN_UP


def test_after_a_last_try_it_is_given_up(mine, courier, receiver, ended, clock):
    receiver.answers = [500] * 100

    for _ in range(len(WAITS) + 5):
        courier.deliver_due()
        clock.now += timedelta(days=1)

    assert len(receiver.got) == len(WAITS) + 1
    assert mine.deliveries(ended.id)[0].status is DeliveryStatus.GIVEN_UP


def test_a_redirection_is_not_followed(mine, courier, receiver, ended):
    receiver.answers = [307]

    courier.deliver_due()

    assert len(receiver.got) == 1
    assert mine.deliveries(ended.id)[0].status is DeliveryStatus.PENDING


def test_who_may_not_be_reached_is_not_even_when_a_name_leads_there(
    mine, engine, clock, receiver, ended
):
    Courier(Webhooks(engine, clock=clock), allow_private=False).deliver_due()

    assert receiver.got == []
    (delivery,) = mine.deliveries(ended.id)
    assert "must have public addresses only" in delivery.attempts[0].error


def test_what_one_courier_has_taken_no_other_is_given(engine, clock, ended):  # noqa: ARG001
    webhooks = Webhooks(engine, clock=clock)

    assert len(webhooks.take_due(9)) == 1
    assert webhooks.take_due(9) == []
    clock.now += timedelta(hours=1)
    assert len(webhooks.take_due(9)) == 1


def test_a_courier_on_its_rounds_sends_by_itself(engine, receiver, ended, mine):
    arrived = threading.Event()

    with Courier(Webhooks(engine), allow_private=True):
        for _ in range(600):
            if mine.deliveries(ended.id)[0].attempts:
                break
            arrived.wait(0.1)

    assert json.loads(receiver.got[0][0])["data"]["job_id"] == ended.id


def test_whatever_goes_wrong_a_courier_looks_again(engine, caplog):
    looks = threading.Semaphore(0)

    class Broken(Webhooks):
        def take_due(self, _most):
            looks.release()
            message = "nobody thought of this"
            raise RuntimeError(message)

    with Courier(Broken(engine), allow_private=True):
        assert looks.acquire(timeout=60)
        assert looks.acquire(timeout=60)

    assert "nobody thought of this" in caplog.text


def test_a_job_without_a_webhook_tells_nobody(mine, clock):
    job = Job(id=new_id("job"), created_at=clock.now, model=_REF, spec=JobSpec())
    mine.submit(job)
    mine.request_cancel(job.id)

    assert mine.deliveries(job.id) == []


def test_a_tenant_has_one_secret(mine):
    assert mine.webhook_secret() == mine.webhook_secret()


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "100.64.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::1",
    ],
)
def test_an_address_of_the_inside_is_none_of_the_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "[::1]", "10.1.2.3"])
def test_urls_that_say_themselves_that_they_lead_inside(host):
    assert leads_inside(f"https://{host}:8443/hook")


def test_a_host_without_an_address_is_named():
    with pytest.raises(UnreachableReceiverError, match=r"Received: nowhere\.invalid"):
        public_address(httpx2.URL("https://nowhere.invalid/"), allow_private=True)
