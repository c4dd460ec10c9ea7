import pytest
from typer.testing import CliRunner

from app.cli import app
from app.jobs.database import create_engine
from app.jobs.keys import Keys
from app.main import UnguardedError, open_backends, require_guard
from app.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPALIER_DATA_DIR", str(tmp_path))
    return Settings()


@pytest.fixture
def espalier(settings):  # noqa: ARG001 - where the keys are
    """Return a function that runs the command line and returns its exit status and words."""

    def run(*arguments):
        answer = CliRunner().invoke(app, arguments)
        return answer.exit_code, answer.output

    return run


@pytest.fixture
def keys(settings):
    engine = create_engine(settings.resolved_database_url)
    yield Keys(engine)
    engine.dispose()


def test_a_made_key_is_printed_alone_and_opens_the_door(espalier, keys):
    status, said = espalier("keys", "create", "ours")

    assert status == 0
    assert keys.caller(said.removesuffix("\n")).tenant == "ours"


def test_keys_are_listed_without_their_secrets(espalier):
    key = espalier("keys", "create", "ours")[1].strip()
    key_id, secret = key.split("_")[1:]

    status, said = espalier("keys", "list")

    assert status == 0
    assert key_id in said
    assert "ours" in said
    assert secret not in said


def test_a_key_is_revoked_by_its_id(espalier, keys):
    key_id = espalier("keys", "create", "ours")[1].split("_")[1]

    assert espalier("keys", "revoke", key_id) == (0, "")

    assert keys.issued()[0].revoked_at is not None


def test_keys_are_made_for_the_folder_that_is_named(espalier, keys, tmp_path):
    espalier("keys", "create", "ours", "--data-dir", str(tmp_path / "other"))
    espalier("keys", "create", "theirs")

    assert [key.tenant for key in keys.issued()] == ["theirs"]
    assert "ours" in espalier("keys", "list", "--data-dir", str(tmp_path / "other"))[1]


def test_a_key_that_is_not_there_cannot_be_revoked(espalier):
    assert espalier("keys", "revoke", "esp_1") == (1, "espalier: there is no valid key 'esp_1'\n")


def test_a_tenant_that_cannot_be_is_refused(espalier):
    status, said = espalier("keys", "create", "Our Team")

    assert status == 1
    assert said.startswith("espalier: a tenant must be 1 to 63")
    assert said.endswith("Received: 'Our Team'\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "espalier.example"])  # noqa: S104
def test_strangers_are_listened_to_only_when_there_has_been_a_key(settings, espalier, host):
    settings = settings.model_copy(update={"host": host})

    with pytest.raises(
        UnguardedError, match="must be a loopback address until there is an API key"
    ):
        require_guard(settings)
    with pytest.raises(UnguardedError), open_backends(settings):
        pass

    espalier("keys", "create", "ours")
    require_guard(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_machine_itself_needs_no_key(settings, host):
    require_guard(settings.model_copy(update={"host": host}))
