"""A job that is started, followed through a lost connection, and cancelled: keys alone do it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.cable import Cable

_FOCUSED = """() => {
  const focused = document.activeElement;
  const label = focused.getAttribute("aria-label") ?? focused.labels?.[0]?.textContent;
  return (label ?? focused.textContent).trim();
}"""
_MOST_TABS = 60


def _tab_to(page: Page, name: str) -> None:
    for _ in range(_MOST_TABS):
        page.keyboard.press("Tab")
        if page.evaluate(_FOCUSED) == name:
            return
    message = f"{name!r} cannot be reached with the Tab key"
    raise AssertionError(message)


def _choose(page: Page, place: str, path) -> None:
    _tab_to(page, place)
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(path)
    kind = place.partition(":")[0].lower()
    expect(page.get_by_role("button", name=f"Remove the {kind}")).to_be_visible()


@pytest.fixture(scope="module")
def training(opened, files) -> Page:
    """The page of a job that trains for hours unless it is stopped, started without a mouse."""
    page = opened("/").page
    # While somebody listens, every file dialog is caught; else the second one might be missed.
    page.on("filechooser", lambda _: None)
    _choose(page, "Model: choose a file", files / "digits.keras")
    _choose(page, "Data: choose a file", files / "digits.npz")
    _tab_to(page, "Gradual")
    page.keyboard.press("ArrowRight")
    _tab_to(page, "Sparsity at the end")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    _tab_to(page, "Epochs")
    page.keyboard.type("10000")
    expect(page.get_by_role("button", name="Start pruning")).to_be_enabled()
    _tab_to(page, "Start pruning")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/job_*")
    return page


def test_the_settings_made_with_keys_are_those_of_the_job(training):
    job = training.request.get(training.url.replace("/jobs/", "/v1/jobs/")).json()

    assert job["spec"]["schedule"]["kind"] == "iterative"
    assert job["spec"]["schedule"]["final_sparsity"] == 0.85
    assert job["spec"]["training"]["epochs"] == 10_000


def test_the_focus_follows_to_the_new_page(training):
    assert training.evaluate("document.activeElement.id") == "main"


def test_a_lost_connection_is_told_and_taken_up_where_it_broke(training, opened, address):
    with Cable(address) as cable:
        watched = opened(f"{cable.address}/jobs/{training.url.rpartition('/')[2]}")
        page, facts = watched.page, watched.page.locator(".progress .facts")
        expect(facts).to_contain_text("Step")
        resumed: list[int] = []
        page.on("request", lambda request: resumed.extend(_last_event_ids(request)))

        cable.cut()
        expect(page.locator("#connection")).to_contain_text("connection is lost")
        lost_at = facts.inner_text()
        cable.mend()

        expect(page.locator("#connection")).to_be_hidden()
        expect(facts).not_to_have_text(lost_at)
        assert resumed[0] > 1
        page.context.close()


def _last_event_ids(request) -> list[int]:
    seen = request.headers.get("last-event-id")
    return [] if seen is None else [int(seen)]


def test_cancelling_asks_first_and_then_ends_the_job(training):
    _tab_to(training, "Cancel")
    training.keyboard.press("Enter")
    expect(training.get_by_role("dialog")).to_contain_text("Cancel this job?")
    training.keyboard.press("Escape")
    expect(training.get_by_role("dialog")).to_have_count(0)

    _tab_to(training, "Cancel")
    training.keyboard.press("Enter")
    _tab_to(training, "Cancel the job")
    training.keyboard.press("Enter")

    expect(training.locator(".heading .badge")).to_have_text("Cancelled")
    expect(training.get_by_role("button", name="Delete")).to_be_visible()
