"""What the driver's tool says; a script takes its place, since most machines have no GPU."""

import pytest

from app.jobs.devices import Device
from worker.devices import visible_devices

_TOOL = """#!/bin/sh
echo "$@" > "$(dirname "$0")/asked"
cat <<'END'
GPU-1, NVIDIA L4, 512, 23034
GPU-2, NVIDIA L4, [GPU is lost], [GPU is lost]
END
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    path = tmp_path / "nvidia-smi"
    path.write_text(_TOOL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return path


@pytest.mark.usefixtures("tool")
def test_a_gpu_is_known_by_its_id_and_its_memory_and_one_that_is_lost_is_left_out():
    assert visible_devices() == (
        Device(id="GPU-1", name="NVIDIA L4", used_bytes=512 * 2**20, total_bytes=23034 * 2**20),
    )


def test_only_the_visible_ones_are_asked_for(tool, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")

    visible_devices()

    assert "--id 1,3" in tool.with_name("asked").read_text()


@pytest.mark.usefixtures("tool")
def test_there_are_none_where_none_is_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert visible_devices() == ()


@pytest.mark.parametrize(
    "script", [pytest.param(None, id="no driver"), pytest.param("#!/bin/sh\nexit 9\n", id="broken")]
)
def test_there_are_none_where_the_driver_says_nothing(tool, script):
    if script is None:
        tool.unlink()
    else:
        tool.write_text(script)

    assert visible_devices() == ()
