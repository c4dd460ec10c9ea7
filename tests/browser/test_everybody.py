"""Every view, for everybody: axe-core finds nothing, a phone is wide enough, the dark is dark."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

_PHONE = 360

_AXE = """() => axe.run(document, {
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})"""


def _violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found = page.evaluate(_AXE)["violations"]
    return [
        f"{violation['id']}: {violation['help']} {node['html'][:200]}"
        for violation in found
        for node in violation["nodes"]
    ]


@pytest.fixture(scope="module")
def jobs(opened, uploaded):
    """The ids of more jobs than a page of the list has, each cancelled as soon as it was there."""
    page = opened("/").page
    model_id = parse_qs(urlsplit(uploaded).query)["model"][0]
    ids = []
    for _ in range(23):
        answer = page.request.post("/v1/jobs", data={"model_id": model_id})
        assert answer.status == 202, answer.text()
        job = answer.json()
        page.request.post(f"/v1/jobs/{job['id']}/cancel")
        ids.append(job["id"])
    return ids


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({}, id="desk, light"),
        pytest.param(
            {"width": _PHONE, "height": 740, "has_touch": True, "color_scheme": "dark"},
            id="phone, dark",
        ),
    ],
)
def view(request, opened):
    """Open a path as one of two kinds of users sees it."""
    return lambda path: opened(path, **request.param).page


def _unfold(page: Page) -> None:
    expect(page.get_by_role("button", name="Start pruning")).to_be_enabled()
    page.get_by_text("More settings").click()
    page.get_by_text("The same as an API call").click()
    page.get_by_text("tensors that stay dense").click()


def _fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_view_of_a_new_job(view, uploaded, axe):
    page = view(uploaded)
    _unfold(page)

    assert _violations(page, axe) == []
    assert _fits(page)


def test_the_view_of_a_new_job_with_faults(view, uploaded, axe):
    page = view(uploaded)
    _unfold(page)
    page.get_by_label("Sparsity at the first update, exactly, in percent").fill("95")
    expect(page.locator(".fault")).to_be_visible()

    assert _violations(page, axe) == []
    assert _fits(page)


@pytest.mark.usefixtures("jobs")
def test_the_view_of_the_jobs(view, axe):
    page = view("/jobs")
    expect(page.locator("tbody tr").first).to_be_visible()

    assert _violations(page, axe) == []
    assert _fits(page)


def test_the_view_of_a_job(view, walk, axe):
    page = view(f"/jobs/{walk.job_id}")
    page.get_by_text("Settings of this job").click()
    expect(page.locator(".downloads")).to_be_visible()
    page.get_by_text("The same by epoch").click()

    assert _violations(page, axe) == []
    assert _fits(page)


def test_the_report_of_a_job(view, walk, axe):
    page = view(f"/v1/jobs/{walk.job_id}/report")
    page.get_by_text("The same by epoch").click()

    assert _violations(page, axe) == []
    assert _fits(page)


def test_the_question_before_a_job_goes(view, walk, axe):
    page = view(f"/jobs/{walk.job_id}")
    page.get_by_role("button", name="Delete").click()

    assert _violations(page, axe) == []
    assert _fits(page)


def test_the_page_is_dark_where_the_system_is(opened):
    backgrounds = [
        opened("/", color_scheme=scheme).page.evaluate("getComputedStyle(document.body).background")
        for scheme in ("light", "dark")
    ]

    assert "rgb(247, 248, 246)" in backgrounds[0]
    assert "rgb(16, 20, 18)" in backgrounds[1]


def test_older_jobs_come_when_they_are_asked_for(opened, jobs):
    page = opened("/jobs").page
    expect(page.locator("tbody tr")).to_have_count(20)

    page.get_by_role("button", name="Show older jobs").click()

    expect(page.locator("tbody tr")).not_to_have_count(20)
    links = page.locator("tbody a").evaluate_all("links => links.map((link) => link.pathname)")
    assert {f"/jobs/{job_id}" for job_id in jobs} <= set(links)


@pytest.mark.usefixtures("jobs")
def test_the_list_can_be_filtered_by_status(opened):
    page = opened("/jobs").page
    page.get_by_role("link", name="Cancelled", exact=True).click()

    expect(page.locator("tbody tr").first).to_be_visible()
    assert set(page.locator("tbody .badge").all_inner_texts()) == {"Cancelled"}
    listed = json.loads(page.request.get("/v1/jobs?status=cancelled&limit=1").text())
    first = page.locator("tbody a").first
    assert first.get_attribute("href") == f"/jobs/{listed['jobs'][0]['id']}"
