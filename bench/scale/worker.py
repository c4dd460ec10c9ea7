"""The worker as it is, but for its runners: ``python -m bench.scale.worker``.

They are ``runner.py`` beside this file, unconfined.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from worker import main
from worker.runners import RunnerPool

#: Environment variable with the seconds that the work of a job takes.
WORK_SECONDS = "BENCH_SCALE_WORK_SECONDS"

_STAND_IN = (sys.executable, "-I", "-S", str(Path(__file__).with_name("runner.py")))

if __name__ == "__main__":
    command = (*_STAND_IN, os.environ[WORK_SECONDS])
    main.RunnerPool = partial(RunnerPool, command=command)
    sys.exit(main.main())
