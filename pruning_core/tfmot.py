"""Schedules of the TensorFlow Model Optimization Toolkit, as it writes them in configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from pruning_core.errors import PruningConfigError
from pruning_core.schedule import Constant, PolynomialDecay, Schedule

#: What the toolkit calls "for ever", in ``ConstantSparsity`` only.
_NO_END = -1


def schedule_from_tfmot(config: Mapping[str, Any]) -> Schedule:
    """Return the schedule that equals a serialised one of TFMOT 0.8.

    Args:
        config: ``{"class_name": "PolynomialDecay" or "ConstantSparsity", "config": {...}}``; what
            the config leaves out has the toolkit's default.

    Raises:
        PruningConfigError: it is no such schedule, or a setting lies outside its domain.

    >>> schedule_from_tfmot(
    ...     {
    ...         "class_name": "ConstantSparsity",
    ...         "config": {"target_sparsity": 0.5, "begin_step": 0, "end_step": -1},
    ...     }
    ... )
    Constant(kind='constant', target_sparsity=0.5, begin_step=0, end_step=None, frequency=100)
    """
    class_name, settings = config.get("class_name"), config.get("config")
    if class_name not in _KNOWN:
        message = (
            f"class_name must be a schedule of TFMOT ({', '.join(_KNOWN)}). Received: {class_name}"
        )
        raise PruningConfigError(message, field="class_name")
    if not isinstance(settings, Mapping):
        message = f"config must be the settings of the schedule. Received: {settings!r}"
        raise PruningConfigError(message, field="config")
    required, optional, convert = _KNOWN[class_name]
    known = cast("Mapping[str, Any]", settings)
    _require_fields(known, required, optional)
    return convert(known)


def _require_fields(
    settings: Mapping[str, Any], required: frozenset[str], optional: frozenset[str]
) -> None:
    for name in sorted(required - set(settings)):
        message = f"config must hold {name}. Received: {sorted(settings)}"
        raise PruningConfigError(message, field=f"config/{name}")
    for name in sorted(set(settings) - required - optional):
        allowed = ", ".join(sorted(required | optional))
        message = f"config must hold only {allowed}. Received: {name}"
        raise PruningConfigError(message, field=f"config/{name}")
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"config/{name} must be a number. Received: {value!r}"
            raise PruningConfigError(message, field=f"config/{name}")


def _constant(settings: Mapping[str, Any]) -> Schedule:
    end_step = settings.get("end_step", _NO_END)
    return Constant(
        target_sparsity=settings["target_sparsity"],
        begin_step=settings["begin_step"],
        end_step=None if end_step == _NO_END else end_step,
        frequency=settings.get("frequency", 100),
    )


def _polynomial_decay(settings: Mapping[str, Any]) -> Schedule:
    return PolynomialDecay(
        initial_sparsity=settings["initial_sparsity"],
        final_sparsity=settings["final_sparsity"],
        begin_step=settings["begin_step"],
        end_step=settings["end_step"],
        power=settings.get("power", 3),
        frequency=settings.get("frequency", 100),
    )


_KNOWN: dict[str, tuple[frozenset[str], frozenset[str], Callable[..., Schedule]]] = {
    "PolynomialDecay": (
        frozenset({"initial_sparsity", "final_sparsity", "begin_step", "end_step"}),
        frozenset({"power", "frequency"}),
        _polynomial_decay,
    ),
    "ConstantSparsity": (
        frozenset({"target_sparsity", "begin_step"}),
        frozenset({"end_step", "frequency"}),
        _constant,
    ),
}
