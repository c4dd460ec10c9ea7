"""The whole way, gone once: what was seen between dropping the files and the download."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.moves import drop, figure, set_training, start

EPOCHS = 12


@dataclass
class Watched:
    """A page, and what the browser had to say about it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))

    def _hear(self, message) -> None:
        # That an answer was a refusal is the page's business, which is looked at by itself.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@dataclass
class Walk:
    """What was seen on the way."""

    watched: Watched
    layers: list[str] = field(default_factory=list)
    steps: str = ""
    size: str = ""
    job_id: str = ""
    curves: list[dict[str, int]] = field(default_factory=list)  #: Points of each curve, over time.
    shares: list[float] = field(default_factory=list)  #: Of the layers' bars, over time.
    file: Path = Path()

    @property
    def page(self) -> Page:
        return self.watched.page

    def job(self) -> dict:
        return json.loads(self.page.request.get(f"/v1/jobs/{self.job_id}").text())


def go(watched: Watched, files: Path, folder: Path, shoot: Callable[[Page, str], None]) -> Walk:
    """Drop the files, set 90 %, start, watch until the job has ended, and download."""
    walk = Walk(watched)
    page = walk.page
    drop(page, files / "digits.npz", files / "digits.keras")
    expect(page.locator(".slot.filled .filename")).to_have_text(["digits.keras", "digits.npz"])
    set_training(page, sparsity=90, epochs=EPOCHS)
    page.get_by_text("More settings").click()
    page.get_by_label("Steps per update").fill("20")
    page.get_by_text("More settings").click()
    expect(page.get_by_role("button", name="Start pruning")).to_be_enabled()
    walk.layers = page.locator(".layers .steered .name").all_inner_texts()
    walk.steps, walk.size = figure(page, "Training"), figure(page, "Download")
    shoot(page, "new-job")
    walk.job_id = start(page)
    _watch(walk, shoot)
    shoot(page, "result")
    walk.file = folder / "model.keras"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download model.keras").click()
    download.value.save_as(walk.file)
    return walk


def _watch(walk: Walk, shoot) -> None:
    """Note how the curves grow, until the job has ended."""
    page = walk.page
    expect(page.locator(".curves .panel").first).to_be_visible()
    while page.locator(".downloads").count() == 0:
        walk.curves.append(_points(page))
        walk.shares.append(_reached(page))
        if len(walk.curves) == 5:
            shoot(page, "running")
        page.wait_for_timeout(250)


def _points(page: Page) -> dict[str, int]:
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".panel")].map((panel) => [
          panel.querySelector("figcaption").firstChild.textContent,
          panel.querySelector(".line, .stairs")?.getAttribute("d").split(/[LV]/).length ?? 0,
        ]))"""
    )


def _reached(page: Page) -> float:
    return page.evaluate(
        """() => Number(
          document.querySelector(".layers .reached")?.style.getPropertyValue("--share") ?? 0
        )"""
    )
