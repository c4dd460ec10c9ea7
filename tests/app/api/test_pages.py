"""The page's files as they are served; what it does is tried in a browser, in ``tests/browser``."""

import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "app" / "web"
FILES = sorted(path for path in WEB.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/job_1", "/jobs?status=failed"])
def test_every_path_of_the_page_answers_with_it(client, path):
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.text == (WEB / "index.html").read_text()


def test_the_page_may_load_only_what_comes_from_its_own_host(client):
    for path in ("/", "/assets/main.js", "/assets/espalier.css"):
        policy = client.get(path).headers["content-security-policy"].split("; ")

        assert "default-src 'self'" in policy
        assert "unsafe" not in " ".join(policy)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("main.js", "text/javascript"), ("espalier.css", "text/css"), ("espalier.svg", "image/svg")],
)
def test_a_browser_takes_each_file_for_what_it_is(client, name, media_type):
    answer = client.get(f"/assets/{name}")

    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_has_not_changed_is_not_sent_again(client):
    first = client.get("/assets/main.js")

    again = client.get("/assets/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304


def test_what_is_not_there_is_a_problem_like_any_other(client):
    answer = client.get("/assets/../index.html")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_the_page_names_another_host(path):
    hosts = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))

    assert hosts <= {"http://www.w3.org/2000/svg"}


def test_every_file_that_the_page_asks_for_is_there(client):
    asked = {name for path in FILES for name in re.findall(r"/assets/[\w.-]+", path.read_text())}

    assert {client.get(name).status_code for name in asked} == {200}
    assert {f"/assets/{path.name}" for path in WEB.joinpath("assets").iterdir()} == asked
