"""Writes ``docs/reference`` from the code: ``make reference``.

A test holds what is committed against what the code says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import griffe2md
import typer
from typer.cli import get_docs_for_click

from app.cli import app as command_line

FOLDER = Path(__file__).with_name("reference")

_PACKAGES = {"pruning_core": "the library", "espalier": "the Python client"}
_COMMANDS = "command-line.md"
_OPTIONS = griffe2md.default_config | {
    "annotations_path": "brief",
    # ``model_config`` is pydantic's.
    "filters": ["!^_", "!^model_config$"],
    "show_bases": False,
    "show_if_no_docstring": False,
    "show_object_full_path": False,
    "show_root_full_path": False,
    "show_root_members_full_path": False,
    "show_signature_annotations": True,
    "show_submodules": False,
    "summary": False,
}
_LINK = re.compile(r"\[([^\[\]]+)\]\(#[^)]*\)")
_CODE = re.compile(r"<code>(.*?)</code>")


def pages() -> Mapping[str, str]:
    """Return the text of each page by the name of its file."""
    return {
        **{f"{package}.md": _package_page(package) for package in _PACKAGES},
        _COMMANDS: _commands_page(),
    }


def _package_page(package: str) -> str:
    text = griffe2md.render_package_docs(package, griffe2md.ConfigDict(**_OPTIONS))
    heading = f"# `{package}`, {_PACKAGES[package]}\n\nWritten from the code by `make reference`.\n"
    body = text.partition("\n")[2]
    return "\n".join([heading, *_fenced(_unlinked(body).strip().splitlines()), ""])


def _unlinked(text: str) -> str:
    """Return ``text`` without links to what the page does not have: types, other modules."""
    return _CODE.sub(r"`\1`", _LINK.sub(r"\1", text))


def _fenced(lines: list[str]) -> Iterator[str]:
    """Yield the lines, examples between fences: they run to the next empty line."""
    is_example = False
    for line in lines:
        if line.lstrip().startswith(">>>") and not is_example:
            yield "```python"
            is_example = True
        if is_example and not line.strip():
            yield "```"
            is_example = False
        yield line
    if is_example:
        yield "```"


def _commands_page() -> str:
    command = typer.main.get_command(command_line)
    context = typer.Context(command, info_name="espalier")
    text = get_docs_for_click(obj=command, ctx=context, name="espalier", title="The commands")
    return f"{text.strip()}\n\nWritten from the code by `make reference`.\n"


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
