import asyncio
import threading

import pytest

from app.api.answers import Answers, TenantAnswers
from app.jobs.errors import JobNotFoundError


class Table:
    """What is looked at, and how often it was."""

    def __init__(self):
        self.revision = 1
        self.looks = 0
        self.is_open = threading.Event()
        self.is_open.set()

    def look(self):
        self.looks += 1
        self.is_open.wait()
        return self.looks

    def fail(self):
        self.looks += 1
        message = "there is no job 'job_1'"
        raise JobNotFoundError(message)


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def answers(table):
    return Answers(lambda: table.revision)


def test_an_answer_holds_until_something_is_written(answers, table):
    async def ask():
        first = [await answers.to("q", table.look) for _ in range(3)]
        table.revision = 2
        return first, await answers.to("q", table.look)

    assert asyncio.run(ask()) == ([1, 1, 1], 2)


def test_who_ask_at_once_wait_for_one_look(answers, table):
    async def ask():
        table.is_open.clear()
        asking = [asyncio.create_task(answers.to("q", table.look)) for _ in range(100)]
        await asyncio.sleep(0)
        table.is_open.set()
        return await asyncio.gather(*asking)

    assert asyncio.run(ask()) == [1] * 100


def test_nobody_is_told_what_was_looked_up_before_they_asked(answers, table):
    async def ask():
        table.is_open.clear()
        before = asyncio.create_task(answers.to("q", table.look))
        await asyncio.sleep(0)
        table.revision = 2
        after = asyncio.create_task(answers.to("q", table.look))
        await asyncio.sleep(0)
        table.is_open.set()
        await asyncio.gather(before, after)

    asyncio.run(ask())
    assert table.looks == 2


def test_what_goes_wrong_is_looked_at_again(answers, table):
    async def ask():
        for _ in range(2):
            with pytest.raises(JobNotFoundError):
                await answers.to("q", table.fail)
        return await answers.to("q", table.look)

    assert asyncio.run(ask()) == 3


def test_who_goes_away_leaves_the_others_waiting(answers, table):
    async def ask():
        table.is_open.clear()
        first, second = (asyncio.create_task(answers.to("q", table.look)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        table.is_open.set()
        return await second

    assert asyncio.run(ask()) == 1


def test_no_tenant_hears_anothers_answer(answers, table):
    async def ask():
        ours, theirs = (TenantAnswers(answers, tenant) for tenant in ("ours", "theirs"))
        return await ours.to("q", table.look), await theirs.to("q", table.look)

    assert asyncio.run(ask()) == (1, 2)


def test_who_polls_sees_every_step_as_soon_as_it_is_written(client, worker, job):
    polled = [client.get(f"/v1/jobs/{job['id']}").json()["status"]]
    claim = worker.claim(job["id"])
    polled.append(client.get(f"/v1/jobs/{job['id']}").json()["status"])
    worker.train(claim)
    polled.append(client.get(f"/v1/jobs/{job['id']}").json()["progress"]["step"])
    worker.succeed(job["id"], claim=claim)
    polled.append(client.get(f"/v1/jobs/{job['id']}").json()["status"])

    assert polled == ["queued", "running", 1, "succeeded"]


def test_who_polls_gets_what_the_list_shows(client, job):
    (listed,) = client.get("/v1/jobs").json()["jobs"]

    assert client.get(f"/v1/jobs/{job['id']}").json() == listed
