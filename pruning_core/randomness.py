"""The random numbers that layers draw as they train, so that a resumed training draws the same."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np


@dataclass(frozen=True)
class RandomState:
    """Where the seed generators of a model's layers are: of Dropout, noise, augmentation.

    Keras keeps it in no file. Random numbers drawn without a generator of the layer's own are not
    known here.
    """

    variables: tuple[keras.Variable, ...] = ()

    @classmethod
    def of(cls, model: keras.Model) -> Self:
        """Return the state of ``model``: all its variables but the weights."""
        weights = {id(weight) for weight in model.weights}
        return cls(tuple(state for state in model.variables if id(state) not in weights))

    def save(self, store: MutableMapping[str, Any]) -> None:
        """Write the state into ``store``, beside what is there."""
        for position, variable in enumerate(self.variables):
            store[_key(position)] = keras.ops.convert_to_numpy(variable)

    def load(self, store: MutableMapping[str, Any]) -> None:
        """Take the state from ``store``; what is not in it stays as it is."""
        for position, variable in enumerate(self.variables):
            if _key(position) in store:
                variable.assign(np.asarray(store[_key(position)]))


def _key(position: int) -> str:
    return f"random_state_{position}"
