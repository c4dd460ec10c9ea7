"""Pruning a model: at once, or while it is fine-tuned."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from pruning_core.acceleration import fuse_batch_normalization
from pruning_core.batch_norm import recalibrate
from pruning_core.callback import MaskUpdates, attached, choose_masks
from pruning_core.companions import centre_on_zero, companions
from pruning_core.compilation import Compilation
from pruning_core.config import PruningConfig
from pruning_core.copying import plain_copy
from pruning_core.distillation import distil
from pruning_core.errors import PruningConfigError
from pruning_core.groups import by_schedule
from pruning_core.optimizer import PruningOptimizer
from pruning_core.recipe import Distillation
from pruning_core.reporting import SparsityReport, report
from pruning_core.schedule import step_of_last_sparsity
from pruning_core.selection import select_pruned


class Pruning:
    """A copy of a model that is being pruned: train ``model`` with ``callback``, then ``strip``.

    The copy is compiled as the model was, its optimizer's state forgotten, the optimizer inside
    a ``PruningOptimizer``. The given model is not touched.

    Args:
        model: Any built Keras model; its frozen layers stay as they are.
        config: What to prune, and how far.
        total_steps: Optimizer steps of the whole training; 0 for none. Gradient accumulation
            makes one step of several batches.
        optimizer: Instead of the model's own; Adam where there is neither.
        loss: Instead of the model's own, in any form that ``compile`` takes.
        metrics: Instead of the model's own, in any form that ``compile`` takes.
        distillation: How much the given model, as it is now, teaches the copy; ``None`` for not
            at all. With weight 1 neither loss nor labels are needed, and the training measures
            ``metrics`` only if they are given.
        cool_down: Let the learning rate fall to zero, along half a cosine, from where the last
            sparsity is reached to the last step.
        copy: False prunes the given model itself, and compiles it anew: for a caller who needs
            it no more, and whose memory does not hold it twice.

    Raises:
        PruningConfigError: a schedule cannot reach its target in ``total_steps``, a rule matches
            no layer, there is a training but no loss, or no time to cool down.
        UnsupportedModelError: nothing in the model can be pruned by ``config``.
    """

    def __init__(  # noqa: PLR0913 - what compile takes that a training cannot do without
        self,
        model: keras.Model,
        config: PruningConfig,
        total_steps: int,
        *,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: Any = None,
        metrics: Any = None,
        distillation: Distillation | None = None,
        cool_down: bool = False,
        copy: bool = True,
    ) -> None:
        """Copy and compile; nothing is pruned yet."""
        self.config = config.resolved(total_steps)
        self.total_steps = total_steps
        select_pruned(model, self.config)
        self._compilation = Compilation.of(model, optimizer=optimizer, loss=loss, metrics=metrics)
        needs_labels = distillation is None or distillation.weight < 1
        if total_steps and needs_labels and not self._compilation.is_complete:
            message = "loss must be given where the model is not compiled. Received: None"
            raise PruningConfigError(message, field="loss")
        teacher = model if copy or distillation is None else plain_copy(model)
        self.model = plain_copy(model) if copy else model
        self._scheduled = by_schedule(self.model, self.config)
        self._optimizer = self._compile(
            with_metrics=needs_labels or metrics is not None, with_cool_down=cool_down
        )
        if distillation is not None:
            distil(self.model, teacher, distillation)
        fuse_batch_normalization(self.model)
        self.callback = MaskUpdates(self._optimizer, self._scheduled)

    def _compile(self, *, with_metrics: bool, with_cool_down: bool) -> PruningOptimizer:
        training = self._compilation if with_metrics else self._compilation.without_metrics()
        if not self.total_steps:
            training = training.without_steps()
        if with_cool_down:
            reached = max(
                step_of_last_sparsity(group.schedule, self.total_steps) for group in self._scheduled
            )
            training = training.cooling_down(reached, self.total_steps)
        return training.compile_pruning(
            self.model,
            [position for group in self._scheduled for position in group.positions],
            companions(self.model, self._scheduled),
        )

    @property
    def step(self) -> int:
        """Optimizer steps done; waits for the device."""
        attached(self.model)
        return self._optimizer.steps_done()

    def sparsity_at(self, step: int) -> float:
        """Fraction of the prunable weights that are pruned after ``step``; asks no device."""
        pruned = sum(group.count_pruned(step) for group in self._scheduled)
        return pruned / sum(group.size for group in self._scheduled)

    def finish(self) -> None:
        """Bring the weights to the sparsity that the schedules end with, if they are not there.

        That happens where a callback stops the training or puts back the weights of an earlier
        epoch (``EarlyStopping``), and where loss scaling leaves out steps; it is the whole
        pruning where ``total_steps`` is 0. Weights that are there stay as they are.

        Raises:
            NonFiniteWeightsError: weights to choose from are NaN or infinite.
        """
        attached(self.model)
        choose_masks(self._optimizer, self._scheduled, self.total_steps)
        centre_on_zero(self.model, self._scheduled)

    def recalibrate(self, batches: Iterable[Any]) -> None:
        """Measure what batch normalisation normalises by anew, see ``batch_norm.recalibrate``.

        For a model that was pruned at once, or trained for so few steps that its moving averages
        are still those from before; after ``finish``.

        Args:
            batches: Inputs of the model, without labels.
        """
        recalibrate(self.model, batches)

    def strip(self) -> keras.Model:
        """Return the model as it is now as plain Keras, with variables of its own.

        It is compiled as the given model was, with an optimizer that has made no step; not
        compiled, if that one was not and no loss was given.
        """
        stripped = plain_copy(attached(self.model))
        if self._compilation.is_complete:
            self._compilation.compile(stripped)
        return stripped

    def report(self) -> SparsityReport:
        """Count the zeros in the model as it is now."""
        return report(attached(self.model), self.config)


@dataclass(frozen=True)
class Pruned:
    """What ``prune`` returns."""

    model: keras.Model  #: Plain Keras, see ``Pruning.strip``.
    report: SparsityReport  #: Counted on ``model``.
    history: dict[str, list[float]]  #: As of ``fit``, by epoch; empty without a training.


def prune(  # noqa: PLR0913 - the arguments of fit and compile, as a user of Keras knows them
    model: keras.Model,
    x: Any = None,
    y: Any = None,
    *,
    config: PruningConfig | None = None,
    epochs: int = 2,
    batch_size: int = 128,
    validation_data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    optimizer: keras.optimizers.Optimizer | str | None = None,
    loss: Any = None,
    metrics: Any = None,
    distillation: Distillation | None = None,
    cool_down: bool = False,
    verbose: str | int = "auto",
) -> Pruned:
    """Return a pruned copy of ``model``, fine-tuned on ``x`` and ``y`` while it is pruned.

    Without ``y`` it learns from the outputs of ``model`` alone (unless that was compiled without a
    loss on purpose), and its batch normalisation is measured anew on ``x`` in the end. Without
    ``x`` it is pruned at once, to the sparsity that the schedule ends with.

    Args:
        model: Any built Keras model. It is not touched.
        x: Training inputs: an array, or a list or dict of arrays.
        y: Training targets, likewise.
        config: What to prune, and how far; by default 80 % of all kernels.
        epochs: As in ``fit``.
        batch_size: As in ``fit``.
        validation_data: As in ``fit``.
        callbacks: As in ``fit``; called after the masks are up to date.
        optimizer: See ``Pruning``, as for ``loss`` and ``metrics``.
        loss: Needed where the model is not compiled.
        metrics: Instead of the model's own.
        distillation: See ``Pruning``; its weight must be 1 where there is no ``y``.
        cool_down: See ``Pruning``.
        verbose: As in ``fit``.

    Raises:
        PruningConfigError: see ``Pruning``; or labels are missing.
        UnsupportedModelError: see ``Pruning``.
        NonFiniteWeightsError: the training diverged.
    """
    compilation = Compilation.of(model, optimizer=optimizer, loss=loss)
    lacks_labels = x is not None and y is None and compilation.expects_labels
    batches = 0 if x is None else epochs * -(-_count_samples(x) // batch_size)
    pruning = Pruning(
        model,
        PruningConfig() if config is None else config,
        batches // compilation.gradient_accumulation_steps,
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        distillation=_without_labels(distillation) if lacks_labels else distillation,
        cool_down=cool_down,
    )
    history: dict[str, list[float]] = {}
    if x is not None:
        history = pruning.model.fit(
            x,
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            callbacks=[pruning.callback, *callbacks],
            verbose=verbose,
        ).history
    pruning.finish()
    if lacks_labels:
        pruning.recalibrate(_batches(x, batch_size))
    stripped = pruning.strip()
    return Pruned(model=stripped, report=report(stripped, pruning.config), history=history)


def _without_labels(distillation: Distillation | None) -> Distillation:
    alone = Distillation(weight=1.0) if distillation is None else distillation
    if alone.weight < 1:
        message = f"distillation.weight must be 1 where there is no y. Received: {alone.weight}"
        raise PruningConfigError(message, field="distillation/weight")
    return alone


def _batches(x: Any, batch_size: int) -> Iterator[Any]:
    for begin in range(0, _count_samples(x), batch_size):
        batch = slice(begin, begin + batch_size)
        yield keras.tree.map_structure(operator.itemgetter(batch), x)


def _count_samples(x: Any) -> int:
    first = keras.tree.flatten(x)[0]
    if not hasattr(first, "shape"):
        message = (
            "x must be an array, or a list or dict of arrays (train the model of a Pruning for "
            f"anything else). Received: {type(first).__name__}"
        )
        raise PruningConfigError(message, field="x")
    return int(first.shape[0])
