"""The short form of ``bench.door``: the API as a process, and callers that hold it up."""

import json
import subprocess
import sys


def test_silent_and_slow_senders_leave_nothing_behind_and_many_posts_make_one_job():
    command = [sys.executable, "-m", "bench.door", "--posts", "20", "--cut", "5", "--slow", "50"]

    run = subprocess.run(command, check=True, stdout=subprocess.PIPE)

    seen = json.loads(run.stdout.splitlines()[-1])
    assert (seen["jobs"], seen["answered_202"]) == (1, 20)
    assert (seen["slow_cut_off"], seen["left_behind"], seen["alive"]) == (50, 0, 200)
    assert seen["uploads_growth_mb"] < 64
