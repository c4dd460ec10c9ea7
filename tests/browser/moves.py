"""What a user does, in few words."""

import base64
from pathlib import Path

from playwright.sync_api import Page, expect

_DROP = """([files, selector]) => {
  const carried = new DataTransfer();
  for (const { name, content } of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([bytes], name));
  }
  const event = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
}"""


def drop(page: Page, *paths: Path, on: str = "body") -> None:
    """Let go of files over what ``on`` selects."""
    files = [
        {"name": path.name, "content": base64.b64encode(path.read_bytes()).decode()}
        for path in paths
    ]
    page.evaluate(_DROP, [files, on])


def choose(page: Page, kind: str, path: Path) -> None:
    """Pick a file with the dialog of the place ``kind``, ``model`` or ``data``."""
    page.set_input_files(f"[data-slot={kind}] input", path)
    expect(page.get_by_role("button", name=f"Remove the {kind}")).to_be_visible()


def set_training(page: Page, *, sparsity: int, epochs: int, batch_size: int = 32) -> None:
    """Fill in the form."""
    page.get_by_label("Sparsity at the end, exactly, in percent").fill(str(sparsity))
    page.get_by_label("Epochs").fill(str(epochs))
    page.get_by_label("Batch size").fill(str(batch_size))


def start(page: Page) -> str:
    """Start the job; answers with its id."""
    page.get_by_role("button", name="Start pruning").click()
    page.wait_for_url("**/jobs/job_*")
    return page.url.rpartition("/")[2]


def figure(page: Page, name: str) -> str:
    """What the forecast says under ``name``."""
    return page.locator(".figures > div", has_text=name).locator(".value").inner_text()
