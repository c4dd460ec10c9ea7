"""The last of this folder: as soon as there has been a key, the service asks everybody for one."""

import hashlib
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.browser.moves import choose, start


@pytest.fixture(scope="module")
def key(address, data_dir) -> str:
    """A key of the running service."""
    assert address
    command = [sys.executable, "-m", "app.key_cli", "create", "acme", "--data-dir", str(data_dir)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return made.stdout.strip()


@pytest.fixture(scope="module")
def inside(opened, key) -> Page:
    """The page after a wrong key and the right one."""
    page = opened("/jobs?status=succeeded").page
    field = page.get_by_role("textbox", name="API key")
    field.fill("esp_wrong")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("dialog")).to_contain_text("That key was not accepted.")
    field.fill(key)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("No job is succeeded.")).to_be_visible()
    return page


def test_the_key_is_kept_for_the_tab_and_nowhere_else(inside, key):
    inside.reload()

    expect(inside.get_by_text("No job is succeeded.")).to_be_visible()
    expect(inside.get_by_role("dialog")).to_have_count(0)
    assert inside.evaluate("Object.values(sessionStorage)") == [key]
    assert inside.evaluate("localStorage.length") == 0


def test_a_job_is_followed_and_its_file_downloaded_with_the_key(inside, files, tmp_path):
    inside.goto("/")
    choose(inside, "model", files / "digits.keras")
    start(inside)
    expect(inside.locator(".downloads")).to_be_visible()

    with inside.expect_download() as download:
        inside.get_by_role("link", name="Download model.keras").click()
    download.value.save_as(tmp_path / "model.keras")

    digest = hashlib.sha256((tmp_path / "model.keras").read_bytes()).hexdigest()
    assert inside.locator(".downloads .hash").inner_text() == digest


def test_the_call_that_the_page_shows_names_the_key_and_does_not_tell_it(inside, files, key):
    inside.goto("/")
    choose(inside, "model", files / "digits.keras")
    inside.get_by_text("The same as an API call").click()

    command = inside.locator(".call pre").inner_text()
    assert "Bearer $ESPALIER_API_KEY" in command
    assert key not in command
