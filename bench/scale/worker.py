"""The worker as it is, but for its runners: ``python -m bench.scale.worker``.

They are ``runner.py`` beside this file, unconfined.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

from worker import main
from worker.spawning import by_command

#: Environment variable with the seconds that the work of a job takes.
WORK_SECONDS = "BENCH_SCALE_WORK_SECONDS"

_STAND_IN = (sys.executable, "-I", "-S", str(Path(__file__).with_name("runner.py")))


class _Nursery(nullcontext[object]):
    def __init__(self, _folder: Path) -> None:
        super().__init__(self)
        self.spawn = by_command((*_STAND_IN, os.environ[WORK_SECONDS]))


if __name__ == "__main__":
    main.Nursery = _Nursery
    sys.exit(main.main())
