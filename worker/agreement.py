"""How far two models answer alike, as a metric."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import keras

#: Name of the metric in a job's result.
AGREEMENT = "agreement"


class Agreement(keras.metrics.MeanMetricWrapper):
    """Share of the answers that choose what the labels, another model's answers, choose.

    Args:
        threshold: Above which an answer of two possible ones is the second; ``None`` where the
            last axis has an answer for each class. Labels are probabilities.
        name: Of the metric.
        dtype: Of the figure.
    """

    def __init__(
        self, threshold: float | None = None, name: str = AGREEMENT, dtype: Any = None
    ) -> None:
        super().__init__(self._alike, name=name, dtype=dtype)
        self._threshold = threshold

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {"threshold": self._threshold, "name": self.name, "dtype": self.dtype}

    def _alike(self, labels: Any, answers: Any) -> Any:
        if self._threshold is None:
            chosen, wanted = (keras.ops.argmax(each, axis=-1) for each in (answers, labels))
        else:
            chosen, wanted = answers > self._threshold, labels > _EVEN
        return keras.ops.cast(keras.ops.equal(chosen, wanted), self.dtype)


_EVEN = 0.5
