"""How a model is compiled, so that its copies can be compiled alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras

from pruning_core.cool_down import cool_down
from pruning_core.optimizer import Companions, PruningOptimizer
from pruning_core.randomness import RandomState


@dataclass(frozen=True)
class Compilation:
    """Arguments of ``compile``; optimizer and metrics are never used themselves, only copied."""

    optimizer: keras.optimizers.Optimizer
    undecayed: tuple[int, ...]  #: Positions of the trainable variables without weight decay.
    arguments: Mapping[str, Any]  #: All but the optimizer.
    is_complete: bool  #: There is a loss, or the model was compiled without one on purpose.

    @classmethod
    def of(
        cls,
        model: keras.Model,
        *,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: Any = None,
        metrics: Any = None,
    ) -> Self:
        """Return how ``model`` is compiled, with what is given in place of its own."""
        own = dict(_compile_arguments(model))
        given = {"optimizer": optimizer, "loss": loss, "metrics": metrics}
        arguments = own | {key: value for key, value in given.items() if value is not None}
        used = keras.optimizers.get(arguments.pop("optimizer", "adam"))
        return cls(
            used, _undecayed(used, model), arguments, is_complete=bool(own) or loss is not None
        )

    @property
    def expects_labels(self) -> bool:
        """Whether there is a loss that compares with labels, or one is still missing."""
        return not self.is_complete or self.arguments.get("loss") is not None

    @property
    def gradient_accumulation_steps(self) -> int:
        """Batches that make one optimizer step."""
        return _unscaled(self.optimizer).gradient_accumulation_steps or 1

    def without_metrics(self) -> Self:
        """Return the same without metrics: for a training that has no labels."""
        # Not None: of a model that is compiled already, `compile` would then keep its metrics.
        arguments: dict[str, Any] = {**self.arguments, "metrics": [], "weighted_metrics": []}
        return dataclasses.replace(self, arguments=arguments)

    def without_steps(self) -> Self:
        """Return the same with an optimizer that has no state: for no training at all."""
        return dataclasses.replace(self, optimizer=keras.optimizers.SGD(), undecayed=())

    def cooling_down(self, begin_step: int, end_step: int) -> Self:
        """Return the same with a learning rate that falls to zero between two steps.

        Raises:
            PruningConfigError: see ``cool_down``.
        """
        optimizer = _copied(self.optimizer)
        cool_down(_unscaled(optimizer), begin_step, end_step)
        return dataclasses.replace(self, optimizer=optimizer)

    def compile(self, model: keras.Model) -> None:
        """Compile ``model``, with an optimizer that has made no step."""
        optimizer = _copied(self.optimizer)
        self._exclude_from_weight_decay(_unscaled(optimizer), model)
        model.compile(optimizer=optimizer, **self._fresh_arguments())
        model.optimizer.build(model.trainable_variables)

    def compile_pruning(
        self, model: keras.Model, pruned: Sequence[int], companions: Sequence[Companions]
    ) -> PruningOptimizer:
        """Compile ``model`` with a ``PruningOptimizer`` around the optimizer; return it.

        Args:
            model: What to compile.
            pruned: Positions, among the trainable variables, of the weights with a mask.
            companions: What goes with them, by position likewise.
        """
        inner = _copied(_unscaled(self.optimizer))
        self._exclude_from_weight_decay(inner, model)
        pruning = PruningOptimizer(inner, pruned, companions)
        optimizer = (
            keras.optimizers.LossScaleOptimizer(
                pruning,
                initial_scale=self.optimizer.initial_scale,
                dynamic_growth_steps=self.optimizer.dynamic_growth_steps,
            )
            if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
            else pruning
        )
        model.compile(optimizer=optimizer, **self._fresh_arguments())
        if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            inner.loss_scale_factor = None  # or gradients would be unscaled twice
        model.optimizer.build(model.trainable_variables)
        pruning.random_state = RandomState.of(model)
        return pruning

    def _exclude_from_weight_decay(
        self, optimizer: keras.optimizers.Optimizer, model: keras.Model
    ) -> None:
        if self.undecayed:
            variables = model.trainable_variables
            optimizer.exclude_from_weight_decay(
                var_list=[variables[position] for position in self.undecayed]
            )

    def _fresh_arguments(self) -> dict[str, Any]:
        return dict(keras.tree.map_structure(_copied, dict(self.arguments)))


def _compile_arguments(model: keras.Model) -> Mapping[str, Any]:
    if not model.compiled:
        return {}
    # Private; the public get_compile_config loses functions that are not registered.
    arguments = dict(model._compile_config.config)  # noqa: SLF001
    if model.dtype_policy.name == "mixed_float16":
        arguments["auto_scale_loss"] = isinstance(
            model.optimizer, keras.optimizers.LossScaleOptimizer
        )
    return arguments


def _undecayed(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> tuple[int, ...]:
    # Private; the config of an optimizer does not say what was excluded.
    has_decay = _unscaled(optimizer)._use_weight_decay  # noqa: SLF001
    return tuple(
        position
        for position, variable in enumerate(model.trainable_variables)
        if not has_decay(variable)
    )


def _unscaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if is_scaled else optimizer


def _copied(value: Any) -> Any:
    has_state = isinstance(value, keras.optimizers.Optimizer | keras.metrics.Metric)
    return value.from_config(value.get_config()) if has_state else value
