"""Distillation: a model learns from the outputs of another one, beside its labels or instead.

``keras.distillation.Distiller`` is a model around the model: it would be trained, checkpointed
and evaluated in its place, without its ``train_step``, its loss weights and its sample weights,
and asks for logits. So here it is a loss, and nothing else is different.
"""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from pruning_core.errors import PruningConfigError
from pruning_core.outputs import Kind, Output, outputs_of
from pruning_core.recipe import Distillation


def distil(model: keras.Model, teacher: keras.Model, distillation: Distillation) -> None:
    """Make ``model`` learn from the outputs of ``teacher`` too, whatever it is trained by.

    It overrides ``compute_loss`` of this one object, as a subclass would. Compilation, metrics,
    ``train_step``, and what is saved stay as they are. ``evaluate`` reports the model's own loss,
    unless that has no part in the training.

    Args:
        model: Compiled. A ``train_step`` of its own must hand its inputs to ``compute_loss``.
        teacher: Takes the same inputs and gives the same outputs; it is not changed.
        distillation: How much, and how soft.
    """
    own_loss = model.compute_loss
    knows_training = "training" in inspect.signature(own_loss).parameters

    def compute_loss(
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,  # noqa: FBT001, FBT002 - as Keras calls it
    ) -> Any:
        told = {"training": training} if knows_training else {}
        if not training and distillation.weight < 1:
            return own_loss(x, y, y_pred, sample_weight, **told)
        divergence = _divergence(model, teacher, x, y_pred, distillation.temperature)
        if distillation.weight == 1:
            return divergence
        own = own_loss(x, y, y_pred, sample_weight, **told)
        return (1 - distillation.weight) * own + distillation.weight * divergence

    model.compute_loss = compute_loss


def _divergence(
    model: keras.Model, teacher: keras.Model, x: Any, y_pred: Any, temperature: float
) -> Any:
    """Return how far all outputs are from the teacher's; a scalar, 0 where they are equal."""
    if x is None:
        message = "train_step must hand its inputs to compute_loss for distillation. Received: None"
        raise PruningConfigError(message, field="distillation")
    answers = keras.tree.flatten(teacher(x, training=False))
    outputs = outputs_of(model, len(answers))
    pairs = zip(outputs, answers, keras.tree.flatten(y_pred), strict=True)
    return sum(
        _distance(output, ops.stop_gradient(answer), predicted, temperature)
        for output, answer, predicted in pairs
    )


def _distance(output: Output, answer: Any, predicted: Any, temperature: float) -> Any:
    """Return the distance of one output from the teacher's, averaged over the samples.

    For classes and flags it is ``T^2 * KL(teacher || model)`` of the probabilities at temperature
    ``T``, so that its gradient does not shrink as ``T`` grows; for quantities the mean squared
    difference.

    Source: Hinton et al., 2015, "Distilling the Knowledge in a Neural Network", section 2.
    arXiv:1503.02531
    """
    answer, predicted = ops.cast(answer, "float32"), ops.cast(predicted, "float32")
    if output.kind is Kind.QUANTITIES:
        return ops.mean(keras.losses.mean_squared_error(answer, predicted))
    soft_answer, soft_predicted = (
        output.probabilities(values, temperature) for values in (answer, predicted)
    )
    divergence = ops.mean(keras.losses.kl_divergence(soft_answer, soft_predicted))
    return temperature**2 * divergence
