"""Prepare a service, let Schemathesis at it, and print what was found."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench import contract
from bench.contract.attack import There, attack
from bench.hostile.originals import originals
from bench.service import Service

_FINAL = {"succeeded", "failed", "cancelled"}
_LOOK_SECONDS = 0.5
_DOOMED = 8
#: What a run sends for each example that it is asked for, about; the last run makes up for it.
_REQUESTS_AN_EXAMPLE = 30
_UNBOUNDED = {"ESPALIER_TENANT_REQUESTS_PER_MINUTE": str(10**9)}


def main() -> int:
    """Run, print what was seen, and return the exit status: 0 where nothing was found."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="contract-"))
    with Service.running(folder, workers=1, settings=_UNBOUNDED) as service:
        key = _new_key(folder)
        there = _Preparation(service, key).there()
        examples = max(1, asked.requests // asked.seeds // _REQUESTS_AN_EXAMPLE)
        failed = [
            seed
            for seed in range(1, asked.seeds + 1)
            if attack(service.url, key, there, seed=seed, examples=examples) != 0
        ]
    requests = (folder / "api.log").read_text(errors="replace").count(' HTTP/1.1" ')
    if failed:
        print(f"logs and database are kept in {folder}")
    else:
        shutil.rmtree(folder)
    print(json.dumps({"requests": requests, "seeds": asked.seeds, "failed_seeds": failed}))
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.contract",
        description=contract.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=50_000, help="about how many, in all")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs")
    return parser.parse_args()


def _new_key(folder: Path) -> str:
    command = [sys.executable, "-m", "app.key_cli", "create", "ours", "--data-dir", str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@dataclass(frozen=True)
class _Preparation:
    """Whatever can be asked for, in every status that lasts."""

    service: Service
    key: str

    def there(self) -> There:
        """Make it, and return the ids: those to keep, and those that may be deleted."""
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx2.Client(base_url=self.service.url, headers=headers, timeout=60) as client:
            model_id = _uploaded(client, "models", "model", originals().keras)
            dataset_id = _uploaded(client, "datasets", "data", originals().npz)
            succeeded = _submitted(client, model_id)
            while client.get(f"/v1/jobs/{succeeded}").json()["status"] not in _FINAL:
                time.sleep(_LOOK_SECONDS)
            # From now on jobs wait, as long as they are not withdrawn.
            self.service.workers[0].stop()
            queued, paused, *doomed = (_submitted(client, model_id) for _ in range(2 + _DOOMED))
            client.post(f"/v1/jobs/{paused}/pause").raise_for_status()
            for job_id in doomed:
                client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
            return {
                "kept": {
                    "job_id": [succeeded, queued, paused],
                    "model_id": [model_id],
                    "dataset_id": [dataset_id],
                    "name": ["model.keras"],
                },
                "doomed": {
                    "job_id": doomed,
                    "model_id": [_uploaded(client, "models", "model", originals().h5)],
                    "dataset_id": [_uploaded(client, "datasets", "data", originals().npz)],
                },
            }


def _uploaded(client: httpx2.Client, path: str, part: str, content: bytes) -> str:
    answer = client.post(f"/v1/{path}", files={part: (part, content)})
    return answer.raise_for_status().json()["id"]


def _submitted(client: httpx2.Client, model_id: str) -> str:
    return client.post("/v1/jobs", json={"model_id": model_id}).raise_for_status().json()["id"]


if __name__ == "__main__":
    sys.exit(main())
