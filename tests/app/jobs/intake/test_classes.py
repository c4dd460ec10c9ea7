"""The allow-list against the Keras that is installed: nothing missing, nothing unnoticed."""

import json

import pytest

from app.jobs.intake import classes


@pytest.fixture(scope="module")
def exports(models):
    return json.loads((models / "exports.json").read_text())


#: Exported by Keras, and refused on purpose; a new class of Keras has to be put here or there.
_REFUSED_LAYERS = {
    *("Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"),
    *("StringLookup", "IntegerLookup", "Hashing", "HashedCrossing"),
    *("Layer", "Wrapper", "InputSpec", "Pipeline", "MaxNumBoundingBoxes"),
}
_BASES = {"Initializer", "Regularizer", "Constraint", "Loss", "Metric", "Optimizer"}
_REFUSED_OPTIMIZERS = {"MultiOptimizer", "OptimizerMap"}


@pytest.mark.parametrize(
    ("module", "allowed", "refused"),
    [
        ("layers", classes.LAYERS, _REFUSED_LAYERS),
        ("initializers", classes.INITIALIZERS, _BASES),
        ("regularizers", classes.REGULARIZERS, _BASES),
        ("constraints", classes.CONSTRAINTS, _BASES),
        ("losses", classes.LOSSES, _BASES),
        ("metrics", classes.METRICS, _BASES),
        ("optimizers", classes.OPTIMIZERS, _BASES | _REFUSED_OPTIMIZERS),
        ("schedules", classes.SCHEDULES, {"LearningRateSchedule"}),
        ("dtype_policies", classes.DTYPE_POLICIES, classes.QUANTIZED_POLICIES),
    ],
)
def test_every_exported_class_is_allowed_or_refused_on_purpose(exports, module, allowed, refused):
    # Keras exports some classes by their function's name too: l2, he_normal.
    exported = {name for name in exports[module]["classes"] if name[0].isupper()}

    assert exported - refused == allowed


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("activations", classes.ACTIVATIONS),
        ("losses", classes.LOSS_FUNCTIONS),
        ("metrics", classes.METRIC_FUNCTIONS | classes.LOSS_FUNCTIONS),
    ],
)
def test_every_exported_function_is_allowed(exports, module, allowed):
    exported = set(exports[module]["functions"]) - {"get", "serialize", "deserialize"}

    assert exported <= allowed
    assert allowed - classes.LOSS_FUNCTIONS <= exported


@pytest.mark.parametrize("module", classes.OPERATIONS)
def test_every_allowed_operation_exists(exports, module):
    assert classes.OPERATIONS[module] <= set(exports[module.removeprefix("keras.")]["classes"])


def test_nothing_that_runs_code_is_allowed():
    every = frozenset().union(*classes.BY_MODULE.values(), classes.WITHOUT_MODULE)

    assert not every & _REFUSED_LAYERS
