"""The delivery log of a job: what its webhook was told, and that it did not answer."""

import json
import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

_RECEIVER = "https://hook.invalid/espalier"


def test_a_job_shows_what_its_webhook_was_told(opened, uploaded):
    page = opened("/").page
    order = {
        "model_id": parse_qs(urlsplit(uploaded).query)["model"][0],
        "spec": {"webhook": {"url": _RECEIVER}},
    }
    job = json.loads(page.request.post("/v1/jobs", data=order).text())
    page.request.post(f"/v1/jobs/{job['id']}/cancel")

    page.goto(f"/jobs/{job['id']}")

    log = page.locator(".deliveries")
    expect(log).to_contain_text(f"to {_RECEIVER}")
    # Nobody of this name is there: the first attempt has failed, and the next one is named.
    expect(log).to_contain_text(re.compile(r"\d attempts? · tried again"))
    assert page.get_by_role("heading", name="Webhook").is_visible()


def test_a_job_without_a_webhook_has_no_log(opened, uploaded):
    page = opened("/").page
    model_id = parse_qs(urlsplit(uploaded).query)["model"][0]
    job = json.loads(page.request.post("/v1/jobs", data={"model_id": model_id}).text())
    page.request.post(f"/v1/jobs/{job['id']}/cancel")

    page.goto(f"/jobs/{job['id']}")

    expect(page.get_by_text("Settings of this job")).to_be_visible()
    expect(page.locator(".deliveries")).to_be_hidden()
