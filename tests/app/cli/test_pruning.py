import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time

import pytest

from espalier import Client
from tests.app.api.conftest import DATA, npz

SMALL = DATA / "small.keras"
HALF = ("--spec", '{"schedule": {"kind": "one_shot"}}', "--sparsity", "0.5")
_PATIENCE_SECONDS = 60.0


@pytest.fixture
def pruned_by_somebody(served):
    """Return a function that does what a worker does, once a job of this name is queued."""
    threads = []

    def await_and(act, filename):
        thread = threading.Thread(target=_await_and, args=(served, act, filename))
        threads.append(thread)
        thread.start()

    yield await_and
    for thread in threads:
        thread.join()


def _await_and(served, act, filename):
    with Client(served.address) as client:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for state in client.jobs(status="queued"):
                if state.model.filename == filename:
                    act(state.id)
                    return
            time.sleep(0.05)


@pytest.fixture
def model(tmp_path):
    """Return a function that makes a model of this name."""

    def make(name):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(SMALL.read_bytes())
        return path

    return make


def test_pruning_ends_with_the_files_and_the_table(served, espalier, model, pruned_by_somebody):
    path = model("whole_way.keras")
    path.with_name("train.npz").write_bytes(npz())
    pruned_by_somebody(served.succeed, path.name)

    answer = espalier("prune", path, "--data", path.with_name("train.npz"), *HALF, "-o", "out")

    assert answer.exit_code == 0, answer.output
    assert re.search(r"accuracy on 360 test samples\W+99\.20%\W+99\.00%", answer.stdout)
    assert re.search(r"without the optimizer\W+1,000", answer.stdout)
    folder = path.parents[1] / "out"
    assert (folder / "model.keras").read_bytes() == b"0123456789"
    job = json.loads((folder / "job.json").read_text())
    assert (job["status"], job["spec"]["schedule"]["target_sparsity"]) == ("succeeded", 0.5)


def test_json_is_the_job_and_nothing_else(served, espalier, model, pruned_by_somebody):
    pruned_by_somebody(served.succeed, "as_json.keras")

    answer = espalier("prune", model("as_json.keras"), "--json")

    job = json.loads(answer.stdout)
    assert job["result"]["sparsity"] == 0.9
    assert answer.exit_code == 0
    assert "succeeded" in answer.stderr


def test_a_job_that_fails_is_another_exit_status(served, espalier, model, pruned_by_somebody):
    pruned_by_somebody(served.fail, "fails.keras")

    answer = espalier("prune", model("fails.keras"))

    assert answer.exit_code == 3
    assert answer.stderr.endswith("espalier: the job failed. It died. Try again.\n")
    assert answer.stdout == ""


def test_a_job_that_is_cancelled_is_another_exit_status(
    served, espalier, model, pruned_by_somebody
):
    pruned_by_somebody(served.cancel, "cancelled.keras")

    assert espalier("prune", model("cancelled.keras")).exit_code == 4


def test_detached_the_id_is_all_that_is_printed(served, espalier, model):
    answer = espalier("prune", model("detached.keras"), "--detach")

    with Client(served.address) as client:
        assert client.job(answer.stdout.strip()).state.status == "queued"
    assert answer.exit_code == 0


def test_a_fault_in_the_spec_is_said_in_the_words_of_the_service(espalier, model):
    answer = espalier("prune", model("m.keras"), "--sparsity", "90")

    assert answer.exit_code == 1
    assert "final_sparsity must be a fraction in [0, 1). Received: 90" in answer.stderr


def test_the_folder_of_the_model_is_never_written_to(espalier, model):
    path = model("model.keras")

    answer = espalier("prune", path, "-o", path.parent)

    assert answer.exit_code == 2
    assert path.read_bytes() == SMALL.read_bytes()


@pytest.mark.parametrize(
    "spec", ["[1]", "{", "nowhere.json", '{"schedule": 1}'], ids=["list", "broken", "file", "part"]
)
def test_a_spec_that_is_none_is_wrong_usage(espalier, model, spec):
    answer = espalier("prune", model("m.keras"), "--spec", spec, "--sparsity", "0.5")

    assert answer.exit_code == 2
    assert "--spec" in answer.stderr


def test_a_spec_is_read_from_standard_input(espalier, model):
    spec = json.dumps({"schedule": {"kind": "one_shot", "target_sparsity": 0.25}})

    answer = espalier("prune", model("m.keras"), "--spec", "-", "--detach", "--json", input=spec)

    assert json.loads(answer.stdout)["spec"]["schedule"]["target_sparsity"] == 0.25


def test_what_goes_together_and_which_files_are_made_are_options(espalier, model):
    answer = espalier(
        "preflight",
        *(model("m.keras"), "--spec", '{"artifacts": ["onnx"]}', "--json"),
        *("--granularity", "channel", "--format", "keras_compact", "-f", "litert"),
    )

    plan = json.loads(answer.stdout)
    assert plan["spec"]["granularity"] == {"kind": "channel"}
    assert [each["format"] for each in plan["artifacts"]] == ["keras_compact", "litert"]


def test_a_file_that_nobody_can_make_is_refused_in_the_words_of_the_service(espalier, model):
    answer = espalier("preflight", model("m.keras"), "--format", "coreml")

    assert answer.exit_code == 1
    assert "artifacts[0] must be 'keras', 'keras_compact'" in answer.stderr


def test_where_nothing_serves_scripts_can_tell(espalier, model):
    answer = espalier("prune", model("m.keras"), "--url", "http://127.0.0.1:9")

    assert answer.exit_code == 5
    assert "`espalier serve` starts one" in answer.stderr


def test_a_preflight_says_what_becomes_of_each_weight(espalier, model):
    answer = espalier("preflight", model("m.keras"), *HALF)

    assert answer.exit_code == 0
    assert re.search(r"hidden/kernel\W+8 x 16\W+128\W+its weights decide", answer.stdout)
    assert re.search(r"all of them\W+192\W+0\.5000", answer.stdout)
    assert "0 steps on 0 samples" in answer.stdout
    assert "Without data" in answer.stderr


def test_a_preflight_as_json_is_the_plan(espalier, model):
    plan = json.loads(espalier("preflight", model("m.keras"), *HALF, "--json").stdout)

    assert plan["sparsity"] == 0.5


#: The terminal becomes its own, so that Ctrl-C is a signal to it; who started the tests in the
#: background of a shell may have had them ignore that signal.
_IN_A_TERMINAL = """
import fcntl, signal, termios
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from app.cli import main
main()
"""


class Terminal:
    """The command line in a terminal of its own."""

    def __init__(self, *arguments):
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_TERMINAL, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        self.said = ""

    def wait_for(self, words):
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while words not in self.said:
            assert time.monotonic() < deadline, self.said
            assert self._read(), self.said

    def wait_for_changes(self, pattern, count):
        """Wait until so many different texts of this form have been shown."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(set(re.findall(pattern, self.said))) < count:
            assert time.monotonic() < deadline, self.said
            assert self._read(), self.said

    def type(self, keys):
        os.write(self._terminal, keys.encode())

    def ended(self):
        while self._read():
            pass
        os.close(self._terminal)
        return self._process.wait(_PATIENCE_SECONDS)

    def _read(self):
        select.select([self._terminal], [], [], _PATIENCE_SECONDS)
        try:
            block = os.read(self._terminal, 65_536)
        except OSError:
            # Nobody holds the other end any more.
            return b""
        self.said += block.decode(errors="replace")
        return block


@pytest.fixture
def terminal(espalier):  # noqa: ARG001 - where the service is
    return Terminal


def test_the_bar_moves_every_second_though_the_service_has_nothing_to_tell(terminal, model):
    window = terminal("prune", model("moves.keras"))
    window.wait_for("queued")

    window.wait_for_changes(r"\d:\d\d:\d\d", 4)

    window.type("\x03")
    window.wait_for("[w]atching?")
    window.type("c\r")
    assert window.ended() == 4


def test_ctrl_c_asks_and_can_cancel(served, terminal, model):
    window = terminal("prune", model("stopped.keras"))
    window.wait_for("queued")
    window.type("\x03")
    window.wait_for("[w]atching?")
    window.type("c\r")

    assert window.ended() == 4
    assert _status(served, "stopped.keras") == "cancelled"


def test_ctrl_c_asks_and_can_leave_the_job_running(served, terminal, model):
    window = terminal("prune", model("left.keras"))
    window.wait_for("queued")
    window.type("\x03")
    window.wait_for("[w]atching?")
    window.type("w\r")
    window.wait_for("queued")
    window.type("\x03")
    window.wait_for("[w]atching?")
    window.type("\r")

    assert window.ended() == 130
    assert "espalier watch job_" in window.said
    assert _status(served, "left.keras") == "queued"


def _status(served, filename):
    with Client(served.address) as client:
        return next(state.status for state in client.jobs() if state.model.filename == filename)
