"""The order ``translate``: make a file of Keras 2 one of Keras 3, and prove it the same model.

The process that carries it out is the only one that ever loads Keras 2 (``tf_keras``), and ends
with it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from app.jobs.errors import RefusedFileError
from app.jobs.intake.keras2 import CONVERTED_TO, STEEPER, Scaling
from app.jobs.intake.model import Conversion, conversion_of
from app.jobs.job import Notice, Stage
from app.jobs.spec import Preprocessing
from worker.data import Array
from worker.errors import RefusedError
from worker.feeding import Feeder
from worker.messages import Noticed, StageBegun, Translated, TranslateOrder, Update
from worker.models import first_line, load_model
from worker.reference import answers, made_up_inputs

#: Largest difference from the original's answers, for answers of size 1; larger ones may differ by
#: as much in proportion. Single precision through a few hundred steps of a recurrence.
TOLERANCE = 1e-5

#: Random inputs reach from minus this to this, well into where ``hard_sigmoid`` is flat.
_REACH = 4.0
_BATCH = 32
_BUILD_IT_ANEW = (
    "Build the same model in Keras 3, give it the weights with load_weights(), compare what it "
    "answers, save it with model.save('model.keras') and upload that file."
)


def translate(order: TranslateOrder, report: Callable[[Update], None]) -> Translated:
    """Carry out the order.

    Raises:
        RefusedError: Keras 2 cannot open the file, or the two models answer differently.
    """
    report(StageBegun(stage=Stage.VALIDATING))
    write_converted(order.model, order.translated)
    original, model = _opened_by_keras_2(order.model), load_model(order.translated)
    feeder = Feeder.of(model, Preprocessing(), batch_size=_BATCH)
    inputs = [_spread(array) for array in made_up_inputs(feeder, model)]
    try:
        expected = _answers_of_keras_2(original, inputs)
        received = answers(model, feeder, inputs)
    except Exception as error:  # Either Keras raises whatever the model provokes.
        raise _not_compared(error) from error
    difference = _require_same(expected, received)
    message = (
        "The file was converted from Keras 2 to Keras 3; on random inputs its answers differ by at "
        f"most {difference:.1e} from those of the original."
    )
    report(Noticed(notice=Notice(code="keras2_converted", message=message)))
    return Translated()


def write_converted(source: Path, target: Path) -> None:
    """Write the HDF5 model of Keras 2 at ``source`` as one of Keras 3.

    Raises:
        RefusedError: it cannot be taken, or not be said in Keras 3.
    """
    conversion = _conversion(source)
    shutil.copyfile(source, target)
    with h5py.File(target, "r+") as file:
        file.attrs["model_config"] = json.dumps(conversion.config)
        file.attrs["keras_version"] = CONVERTED_TO
        for scaling in conversion.scalings:
            _scale(file[scaling.path], scaling)


def _conversion(source: Path) -> Conversion:
    try:
        return conversion_of(source)
    except RefusedFileError as error:
        raise RefusedError(error.code, error.message, hint=error.hint) from error


def _scale(weight: Any, scaling: Scaling) -> None:
    parts = np.split(np.asarray(weight), scaling.gates, axis=-1)
    for place in scaling.scaled:
        parts[place] = parts[place] * np.asarray(STEEPER, parts[place].dtype)
    weight[...] = np.concatenate(parts, axis=-1)


def _opened_by_keras_2(path: Path) -> Any:
    try:
        keras2 = importlib.import_module("tf_keras")
    except ImportError as error:
        raise RefusedError(
            "keras2_unavailable",
            "The file is of Keras 2, and this worker has no tf-keras to hold it against.",
            hint="Ask its operator to install espalier[keras2]; or open the model in Keras 3, save "
            "it with model.save('model.keras') and upload that file.",
        ) from error
    try:
        return keras2.models.load_model(path, compile=False)
    except Exception as error:  # It raises whatever the file's content provokes.
        raise RefusedError(
            "model_not_loadable",
            f"Keras 2 (tf-keras {keras2.__version__}) cannot open the model: {first_line(error)}",
            hint="Save it again with model.save('model.h5') from the Keras that it was made with, "
            "and check that load_model opens it there.",
        ) from error


def _spread(made_up: Array) -> Array:
    """Return inputs in [0, 1) as ones on both sides of 0; whole numbers as they are."""
    if np.array_equal(made_up, np.floor(made_up)):
        return made_up
    return ((made_up * 2 - 1) * _REACH).astype(made_up.dtype)


def _answers_of_keras_2(model: Any, inputs: list[Array]) -> list[Array]:
    given = inputs[0] if len(inputs) == 1 else inputs
    predicted = model.predict(given, batch_size=_BATCH, verbose=0)
    return [np.asarray(array) for array in keras.tree.flatten(predicted)]


def _require_same(expected: list[Array], received: list[Array]) -> float:
    """Return the largest difference."""
    largest = 0.0
    for one, other in zip(expected, received, strict=True):
        if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
            fault = "have another shape, or are not finite"
            raise _another_model(fault)
        difference = float(np.abs(one - other).max(initial=0.0))
        if difference > TOLERANCE * max(1.0, float(np.abs(one).max(initial=0.0))):
            fault = f"differ by up to {difference:.3g} on random inputs"
            raise _another_model(fault)
        largest = max(largest, difference)
    return largest


def _not_compared(error: Exception) -> RefusedError:
    return RefusedError(
        "keras2_not_compared",
        "The file was converted from Keras 2, but could not be held against the original, as one "
        f"of the two does not answer to random inputs: {first_line(error)}",
        hint=_BUILD_IT_ANEW,
    )


def _another_model(fault: str) -> RefusedError:
    return RefusedError(
        "keras2_differs",
        f"The file was converted from Keras 2, but its answers {fault} from those that Keras 2 "
        "gives, so nothing was pruned.",
        hint=_BUILD_IT_ANEW,
    )
