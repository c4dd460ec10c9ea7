"""The short form of a large model over a connection that is cut; the long one is run by hand."""

import json
import subprocess
import sys


def test_a_model_arrives_whole_however_often_its_connection_is_cut():
    command = [sys.executable, "-m", "bench.resumable", "--bytes", "8000000", "--cuts", "5"]

    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    seen = json.loads(printed.splitlines()[-1])
    assert (seen["cuts"], seen["hash_is_right"]) == (5, True)
    assert seen["api_growth_mb"] <= 64
