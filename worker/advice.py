"""What a caller can do where pruning cost more than it had to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.jobs.job import Notice
from app.jobs.result import JobResult
from app.jobs.spec import JobSpec

#: A fall of so much, as a fraction of the samples, is worth a word.
_NOTEWORTHY = 0.02
#: From this sparsity on, more than a longer training helps.
_HIGH_SPARSITY = 0.95
#: Steps beyond which a longer training is not the first thing to try.
_MANY_STEPS = 2000


def advice(result: JobResult, spec: JobSpec, *, total_steps: int) -> Iterator[Notice]:
    """Yield what to try next, where the accuracy fell by more than chance explains.

    Args:
        result: With accuracies; without them there is nothing to say.
        spec: What was carried out.
        total_steps: Of the training.
    """
    before = (result.baseline or {}).get("accuracy")
    after = (result.pruned or {}).get("accuracy")
    if before is None or after is None or result.evaluated_on is None:
        return
    spread = math.sqrt(before * (1 - before) / result.evaluated_on.samples)
    if before - after <= max(_NOTEWORTHY, 2 * spread):
        return
    yield Notice(
        code="accuracy_fell",
        message=f"The accuracy fell from {before:.1%} to {after:.1%}. What helps, most of all the "
        f"first: {'; '.join(_remedies(result, spec, total_steps))}.",
    )


def _remedies(result: JobResult, spec: JobSpec, total_steps: int) -> Iterator[str]:
    if total_steps < _MANY_STEPS:
        yield (
            f"a longer training than {total_steps} steps (more training.epochs, "
            f"or a training.batch_size below {spec.training.batch_size})"
        )
    if result.sparsity >= _HIGH_SPARSITY:
        yield "what docs/pruning.md has for high sparsity (initial_sparsity, distillation)"
    yield f"a sparsity below {result.sparsity:.0%}"
