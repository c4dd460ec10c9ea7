import time

from app.jobs.ids import new_id


def test_an_id_is_its_prefix_and_26_characters_that_are_safe_in_a_url():
    prefix, _, rest = new_id("job").partition("_")

    assert prefix == "job"
    assert len(rest) == 26
    assert set(rest) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_made_at_once_differ():
    assert len({new_id("mdl") for _ in range(10_000)}) == 10_000


def test_an_id_made_a_millisecond_later_sorts_later(monkeypatch):
    now = time.time_ns()
    ids = []
    for milliseconds in range(100):
        monkeypatch.setattr(time, "time_ns", lambda ms=milliseconds: now + ms * 1_000_000)
        ids.append(new_id("job"))

    assert ids == sorted(ids)
