from datetime import timedelta

import pytest
from sqlalchemy import select

from app.jobs.database import reading
from app.jobs.errors import StorageQuotaError, UploadNotFoundError
from app.jobs.ids import new_id
from app.jobs.partial_uploads import PAUSED_FOR, UNTOUCHED_FOR
from app.jobs.quotas import Quota
from app.jobs.tables import audit
from app.jobs.tenants import LOCAL, Caller


@pytest.fixture
def begun(mine):
    """Announce a model of a hundred bytes."""

    def begin(store=mine):
        return store.begin_upload(
            new_id("mdl"), "model", filename="m.keras", count=100, metadata="kind bW9kZWw="
        )

    return begin


def test_one_that_nobody_goes_on_with_expires(store, mine, begun, clock):
    upload = begun()

    clock.advance(UNTOUCHED_FOR.total_seconds() - 1)
    assert mine.upload(upload.id) == upload
    assert store.forget_expired(uploads_kept=None) == []
    clock.advance(1)

    with pytest.raises(UploadNotFoundError):
        mine.upload(upload.id)
    assert store.forget_expired(uploads_kept=None) == [f"uploads/{upload.id}"]


def test_each_piece_gives_it_more_time(store, mine, begun, clock):
    upload = begun()
    clock.advance(60)

    kept = mine.go_on_with_upload(upload.id)

    assert kept.expires_at == clock.now + PAUSED_FOR
    clock.advance(PAUSED_FOR.total_seconds() - 1)
    assert mine.upload(upload.id) == kept
    assert store.forget_expired(uploads_kept=None) == []


def test_that_it_has_expired_is_in_the_audit_of_its_tenant(store, engine, begun, clock):
    upload = begun(store.of(Caller("them", key_id=None)))

    clock.advance(UNTOUCHED_FOR.total_seconds())
    store.forget_expired(uploads_kept=None)

    with reading(engine) as connection:
        columns = (audit.c.action, audit.c.tenant, audit.c.subject)
        noted = connection.execute(select(*columns).order_by(audit.c.number.desc())).first()
    assert noted == ("upload_expired", "them", upload.id)


def test_announced_bytes_are_the_tenants_until_it_expires(store, begun, clock):
    mine = store.of(LOCAL, quota=Quota(stored_bytes=150, unfinished_jobs=1))
    begun(mine)

    with pytest.raises(StorageQuotaError):
        begun(mine)
    clock.advance(UNTOUCHED_FOR.total_seconds())
    store.forget_expired(uploads_kept=timedelta(days=1))

    assert begun(mine)


def test_what_is_being_sent_is_no_nameless_file(store, begun):
    upload = begun()

    assert store.without_row([upload.key, "uploads/mdl_gone"]) == ["uploads/mdl_gone"]


@pytest.mark.parametrize(("size", "reached"), [(0, 0), (1, 1), (98, 98), (99, 99), (100, 99)])
def test_the_last_byte_counts_when_the_file_has_been_accepted(begun, size, reached):
    assert begun().reached(size) == reached
