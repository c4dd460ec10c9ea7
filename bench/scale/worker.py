"""The worker as it is, but for its runners: ``python -m bench.scale.worker``.

They are those of ``nursery.py`` beside this file.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from worker import main, spawning

#: Environment variable with the seconds that the work of a job takes.
WORK_SECONDS = "BENCH_SCALE_WORK_SECONDS"

if __name__ == "__main__":
    command = (sys.executable, "-P", "-m", "bench.scale.nursery", os.environ[WORK_SECONDS])
    main.Nursery = partial(spawning.Nursery, command=command)
    sys.exit(main.main())
