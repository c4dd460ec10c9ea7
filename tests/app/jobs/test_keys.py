import re

import pytest
from sqlalchemy import inspect, text

from app.jobs.errors import InvalidKeyError, KeyNotFoundError
from app.jobs.keys import Keys
from app.jobs.tenants import Caller


@pytest.fixture
def keys(engine, clock):
    return Keys(engine, clock=clock)


def key_id(key):
    return key.split("_")[1]


def test_a_key_opens_the_door_of_its_tenant(keys):
    ours, theirs = keys.create("ours"), keys.create("theirs")

    assert keys.caller(ours) == Caller(tenant="ours", key_id=key_id(ours))
    assert keys.caller(theirs).tenant == "theirs"


def test_a_key_has_256_random_bits(keys):
    first, second = keys.create("ours"), keys.create("ours")

    assert re.fullmatch(r"esp_[0-9a-f]{12}_[0-9a-f]{64}", first)
    assert first.split("_")[2] != second.split("_")[2]


def test_nothing_that_is_stored_opens_the_door(keys, engine):
    key = keys.create("ours")

    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        stored = [
            str(value)
            for table in tables
            for row in connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608
            for value in row
        ]

    assert key_id(key) in stored
    assert not [value for value in stored if key.split("_")[2] in value]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _: "", id="nothing"),
        pytest.param(lambda key: key[:-1], id="a letter missing"),
        pytest.param(lambda key: key + "0", id="a letter more"),
        pytest.param(lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"), id="another letter"),
        pytest.param(lambda key: key.upper(), id="shouted"),
        pytest.param(lambda key: f"esp_{'0' * 12}_{key.split('_')[2]}", id="another id"),
        pytest.param(lambda key: key + "\n", id="a line more"),
        pytest.param(lambda key: key.replace("esp", "ésp"), id="not ASCII"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(keys, spoil):
    key = keys.create("ours")

    with pytest.raises(InvalidKeyError) as refused:
        keys.caller(spoil(key))

    assert key.split("_")[2][:8] not in str(refused.value)


def test_a_revoked_key_opens_nothing_and_the_others_still_do(keys):
    lost, kept = keys.create("ours"), keys.create("ours")

    keys.revoke(key_id(lost))

    with pytest.raises(InvalidKeyError):
        keys.caller(lost)
    assert keys.caller(kept).tenant == "ours"


def test_revoking_the_last_key_does_not_open_the_door(keys):
    assert not keys.were_made()

    keys.revoke(key_id(keys.create("ours")))

    assert keys.were_made()


def test_keys_are_listed_without_their_secrets(keys, clock):
    first, second = keys.create("ours"), keys.create("theirs")
    keys.revoke(key_id(first))

    listed = {key.id: key for key in keys.issued()}

    assert set(listed) == {key_id(first), key_id(second)}
    assert listed[key_id(first)].revoked_at == clock.now
    assert listed[key_id(second)].revoked_at is None
    assert first.split("_")[2] not in repr(listed)


@pytest.mark.parametrize("again", [False, True], ids=["never made", "revoked before"])
def test_only_a_valid_key_can_be_revoked(keys, again):
    known = key_id(keys.create("ours"))
    keys.revoke(known)

    with pytest.raises(KeyNotFoundError, match="there is no valid key"):
        keys.revoke(known if again else "0" * 12)


@pytest.mark.parametrize("tenant", ["", "Ours", "a b", "-a", "a" * 64, "é", "a/b", "a\n"])
def test_a_tenant_has_a_plain_name(keys, tenant):
    with pytest.raises(ValueError, match="a tenant must be 1 to 63"):
        keys.create(tenant)

    assert keys.issued() == []
