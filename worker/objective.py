"""What a model is trained and measured by: the spec's loss, the file's, or an inferred one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from app.jobs.job import Notice
from app.jobs.spec import Training
from worker.compiled import BINARY, CATEGORICAL, SPARSE, SQUARED, Compiled, name_of, takes_logits
from worker.data import Array
from worker.errors import RefusedError
from worker.labels import Output, are_binary, are_class_numbers, are_distributions
from worker.messages import Objective

_CLASS_NAMES = {
    SPARSE: "SparseCategoricalCrossentropy",
    CATEGORICAL: "CategoricalCrossentropy",
    BINARY: "BinaryCrossentropy",
}
_ACCURACY = ("accuracy", "acc")


@dataclass(frozen=True)
class Choice:
    """An objective, and what the caller should know about how it was chosen."""

    objective: Objective
    notices: tuple[Notice, ...] = ()

    @property
    def classifies(self) -> bool:
        """Whether the model tells classes apart."""
        return name_of(self.objective.loss) in _CLASS_NAMES


def choose_objective(
    training: Training, compiled: Compiled, *, output: Output, labels: Array
) -> Choice:
    """Choose the loss and the metrics.

    Args:
        training: The loss of the spec comes first, and its metrics.
        compiled: What the file says comes second.
        output: With ``labels``, what is inferred from when neither says anything.
        labels: Of the training samples.

    Raises:
        RefusedError: nothing says what the model is trained for, or the labels do not fit.
    """
    named = training.loss or compiled.loss
    if named is None:
        loss = infer_loss(output, labels)
        notices = (_inferred(loss, output),)
    else:
        loss = named
        notices = _doubts(loss, output)
    metrics = tuple(_metrics(training, compiled, loss, output))
    return Choice(Objective(loss=loss, metrics=metrics), notices)


def choose_comparison(training: Training, compiled: Compiled, *, output: Output) -> Choice:
    """Choose what answers to samples without labels are held against the unpruned model's by.

    A classifier's answers are probabilities: the loss is the crossentropy with those of the
    unpruned model, and ``agreement`` the share of its choices that are made again. Other answers
    are quantities: the loss is the spec's, failing that the mean squared error.

    Args:
        training: Its loss, and failing that the one in the file, say whether outputs without an
            activation are logits.
        compiled: What the file says.
        output: Softmax and sigmoid speak for themselves.
    """
    named = training.loss or compiled.loss
    of_classes = None if named is None else name_of(named)
    if output.activation == "softmax" or of_classes in {SPARSE, CATEGORICAL}:
        loss, threshold = CATEGORICAL, None
    elif output.is_probability or of_classes == BINARY:
        loss, threshold = BINARY, 0.5 if output.is_probability else 0.0
    else:
        return Choice(Objective(loss=training.loss or SQUARED, metrics=()))
    agreement: JsonValue = {"class_name": "Agreement", "config": {"threshold": threshold}}
    loss = loss if output.is_probability else _of_logits(loss)
    return Choice(Objective(loss=loss, metrics=(agreement,)))


def _metrics(
    training: Training, compiled: Compiled, loss: JsonValue, output: Output
) -> Iterator[JsonValue]:
    if training.metrics is None and compiled.metrics:
        # As Keras measured it when the model was trained: its line between logits is at 0.5.
        for metric in compiled.metrics:
            yield _accuracy(loss, output, threshold=0.5) if metric in _ACCURACY else metric
        return
    classifies = name_of(loss) in _CLASS_NAMES
    default: tuple[JsonValue, ...] = ("accuracy",) if classifies else ()
    threshold = 0.0 if takes_logits(loss) else 0.5
    for metric in default if training.metrics is None else training.metrics:
        yield _accuracy(loss, output, threshold=threshold) if metric in _ACCURACY else metric


def infer_loss(output: Output, labels: Array) -> JsonValue:
    """Return the loss that labels and last activation speak for.

    =====================  ==================  ===============================================
    labels                 last activation     loss
    =====================  ==================  ===============================================
    class numbers          softmax, sigmoid    sparse categorical, of probabilities
    class numbers          none                sparse categorical, of logits
    rows that add up to 1  softmax             categorical, of probabilities
    rows with a single 1   none                categorical, of logits
    zeros and ones         sigmoid             binary, of probabilities
    zeros and ones         none                binary, of logits
    anything else          any but softmax     mean squared error
    =====================  ==================  ===============================================

    Raises:
        RefusedError: the labels speak for none.
    """
    loss = _loss_of_classes(output, labels)
    if loss is not None and output.is_probability:
        return loss
    if loss is not None and output.activation == "linear":
        return _of_logits(loss)
    if loss == SPARSE or output.activation == "softmax":
        raise _unclear(output, labels)
    return SQUARED


def _loss_of_classes(output: Output, labels: Array) -> str | None:
    if output.units != 1 and are_class_numbers(output, labels):
        return SPARSE
    if output.activation == "softmax":
        return CATEGORICAL if are_distributions(labels) else None
    if not are_binary(labels):
        return None
    of_one_class = output.activation == "linear" and are_distributions(labels)
    return CATEGORICAL if of_one_class else BINARY


def _of_logits(loss: str) -> JsonValue:
    return {
        "module": "keras.losses",
        "class_name": _CLASS_NAMES[loss],
        "config": {"from_logits": True},
        "registered_name": None,
    }


def _accuracy(loss: JsonValue, output: Output, *, threshold: float) -> JsonValue:
    """Return what Keras takes "accuracy" for, spelled out.

    Keras finds out while it traces the first batch, creates the metric there, and so traces twice.
    """
    match name_of(loss):
        case "sparse_categorical_crossentropy":
            return _metric("SparseCategoricalAccuracy")
        case "categorical_crossentropy":
            return _metric("CategoricalAccuracy")
        case "binary_crossentropy" if output.units == 1:
            return _metric("BinaryAccuracy", threshold=threshold)
        case _:
            return "accuracy"


def _metric(class_name: str, **config: float) -> JsonValue:
    return {
        "module": "keras.metrics",
        "class_name": class_name,
        "config": {"name": "accuracy", **config},
        "registered_name": None,
    }


def _inferred(loss: JsonValue, output: Output) -> Notice:
    taken = name_of(loss) + (" of logits" if takes_logits(loss) else "")
    return Notice(
        code="loss_inferred",
        message=(
            "Neither the spec nor the model file names a loss. From the labels and the last "
            f"activation ({output.activation}), {taken} was taken; set training.loss to choose "
            "another."
        ),
    )


def _doubts(loss: JsonValue, output: Output) -> tuple[Notice, ...]:
    wants_probabilities = name_of(loss) in _CLASS_NAMES and not takes_logits(loss)
    if not wants_probabilities or output.activation != "linear":
        return ()
    return (
        Notice(
            code="loss_expects_probabilities",
            message=(
                f"{name_of(loss)} takes probabilities, but the model's last layer has neither "
                "softmax nor sigmoid. If its outputs are logits, compile the model with "
                "from_logits=True before saving it, or end it with an activation."
            ),
        ),
    )


def _unclear(output: Output, labels: Array) -> RefusedError:
    return RefusedError(
        "loss_unclear",
        "Neither the spec nor the model file names a loss, and labels of shape "
        f"{labels.shape} speak for none with a last activation {output.activation!r} of "
        f"{output.units} units.",
        hint="Set training.loss.",
    )
