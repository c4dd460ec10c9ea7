"""Settings of the TensorFlow Model Optimization Toolkit, as it writes them in configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from pruning_core.checks import refusing_at
from pruning_core.config import Block, Granularity, NOfM, PruningConfig, Unstructured
from pruning_core.errors import PruningConfigError
from pruning_core.schedule import Constant, PolynomialDecay, Schedule

#: What the toolkit calls "for ever", in ``ConstantSparsity`` only.
_NO_END = -1


def config_from_tfmot(settings: Mapping[str, Any]) -> PruningConfig:
    """Return the configuration that does what TFMOT 0.8 was told to do.

    Args:
        settings: The arguments of ``prune_low_magnitude``, the schedule as its ``get_config``
            has it; or a serialised ``PruneLowMagnitude``, whole or its ``config`` alone. What is
            left out has the toolkit's default. The layer that a wrapper holds is left aside.

    Raises:
        PruningConfigError: there is no such setting, one lies outside its domain, or the schedule
            ends elsewhere than at the sparsity of ``sparsity_m_by_n``, under which the toolkit
            takes any schedule and ignores it; ``field`` is its place in ``settings``.

    >>> config_from_tfmot({"sparsity_m_by_n": (2, 4)}).granularity
    NOfM(kind='n_of_m', zeros=2, group=4)
    """
    if settings.get("class_name") == "PruneLowMagnitude":
        inner = _mapping("config", settings.get("config"))
        with refusing_at("config"):
            return config_from_tfmot(inner)
    for name in sorted(set(settings) - _OURS - _OF_WRAPPERS):
        message = f"TFMOT's settings are {', '.join(sorted(_OURS))}. Received: {name}"
        raise PruningConfigError(message, field=name)
    if settings.get("pruning_policy") is not None:
        message = "pruning_policy must be none: rules for layers say more. Received: one"
        raise PruningConfigError(message, field="pruning_policy")
    return _translated(settings)


#: The arguments of ``prune_low_magnitude``.
_OURS = frozenset(
    {
        "block_pooling_type",
        "block_size",
        "pruning_policy",
        "pruning_schedule",
        "sparsity_m_by_n",
    }
)
#: What a serialised wrapper has beside them.
_OF_WRAPPERS = frozenset(
    {"batch_input_shape", "build_config", "dtype", "layer", "name", "trainable"}
)

_DEFAULT_FREQUENCY = 100
#: Which is ``ConstantSparsity(0.5, 0)``.
_DEFAULT_SCHEDULE = Constant(target_sparsity=0.5, frequency=_DEFAULT_FREQUENCY)


def _translated(settings: Mapping[str, Any]) -> PruningConfig:
    granularity = _granularity(settings)
    if "pruning_schedule" not in settings:
        is_pattern = isinstance(granularity, NOfM)
        schedule = Constant(frequency=_DEFAULT_FREQUENCY) if is_pattern else _DEFAULT_SCHEDULE
        return PruningConfig(schedule=schedule, granularity=granularity)
    theirs = _mapping("pruning_schedule", settings["pruning_schedule"])
    with refusing_at("pruning_schedule"):
        schedule = schedule_from_tfmot(theirs)
    try:
        return PruningConfig(schedule=schedule, granularity=granularity)
    except PruningConfigError as error:
        field = error.field.replace("schedule", "pruning_schedule/config", 1)
        raise PruningConfigError(str(error), field=field) from error


def _granularity(settings: Mapping[str, Any]) -> Granularity:
    pattern = settings.get("sparsity_m_by_n")
    block_size = _pair("block_size", settings.get("block_size", (1, 1)))
    pooling = settings.get("block_pooling_type", "AVG")
    if pooling not in {"AVG", "MAX"}:
        message = f"block_pooling_type must be AVG or MAX. Received: {pooling!r}"
        raise PruningConfigError(message, field="block_pooling_type")
    if pattern is None:
        return Unstructured() if block_size == (1, 1) else _block(block_size, pooling)
    if block_size != (1, 1):
        message = f"block_size must be 1 by 1 under sparsity_m_by_n. Received: {list(block_size)}"
        raise PruningConfigError(message, field="block_size")
    zeros, group = _pair("sparsity_m_by_n", pattern)
    try:
        return NOfM(zeros=zeros, group=group)
    except PruningConfigError as error:
        raise PruningConfigError(str(error), field="sparsity_m_by_n") from error


def _block(block_size: tuple[int, int], pooling: str) -> Block:
    return Block(block_size=block_size, pooling="max" if pooling == "MAX" else "mean")


def _mapping(field: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        message = f"{field} must be an object. Received: {value!r}"
        raise PruningConfigError(message, field=field)
    return cast("Mapping[str, Any]", value)


def _pair(field: str, value: object) -> tuple[int, int]:
    match value:
        case [int() as first, int() as second] if not isinstance(first, bool):
            return first, second
        case _:
            message = f"{field} must be two integers. Received: {value!r}"
            raise PruningConfigError(message, field=field)


def schedule_from_tfmot(config: Mapping[str, Any]) -> Schedule:
    """Return the schedule that equals a serialised one of TFMOT 0.8.

    Args:
        config: ``{"class_name": "PolynomialDecay" or "ConstantSparsity", "config": {...}}``; what
            the config leaves out has the toolkit's default.

    Raises:
        PruningConfigError: it is no such schedule, or a setting lies outside its domain; ``field``
            is its place in ``config``.

    >>> schedule_from_tfmot(
    ...     {
    ...         "class_name": "ConstantSparsity",
    ...         "config": {"target_sparsity": 0.5, "begin_step": 0, "end_step": -1},
    ...     }
    ... )
    Constant(kind='constant', target_sparsity=0.5, begin_step=0, end_step=None, frequency=100)
    """
    class_name, settings = config.get("class_name"), config.get("config")
    if not isinstance(class_name, str) or class_name not in _KNOWN:
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
    with refusing_at("config"):
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
        frequency=settings.get("frequency", _DEFAULT_FREQUENCY),
    )


def _polynomial_decay(settings: Mapping[str, Any]) -> Schedule:
    return PolynomialDecay(
        initial_sparsity=settings["initial_sparsity"],
        final_sparsity=settings["final_sparsity"],
        begin_step=settings["begin_step"],
        end_step=settings["end_step"],
        power=settings.get("power", 3),
        frequency=settings.get("frequency", _DEFAULT_FREQUENCY),
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
