"""Files that Keras 2 made, as models of Keras 3: the same function of their inputs."""

from pathlib import Path

import pytest

from app.jobs.intake.model import summarise_model
from app.jobs.job import Stage
from worker.errors import RefusedError
from worker.messages import TranslateOrder

pytest.importorskip("keras")
pytest.importorskip("tf_keras")

from worker import translating

_DATA = Path(__file__).parents[1] / "data"


def _translated(name, folder):
    reports = []
    order = TranslateOrder(folder=folder, model=_DATA / name, translated=folder / "translated.h5")
    translating.translate(order, reports.append)
    return order.translated, reports


@pytest.mark.parametrize("name", ["keras2_recurrent.h5", "keras2_list.h5"])
def test_the_converted_model_answers_as_the_original_in_keras_2(tmp_path, name):
    path, [begun, told] = _translated(name, tmp_path)

    assert begun.stage == Stage.VALIDATING
    assert told.notice.code == "keras2_converted"
    assert summarise_model(path).changes_for_keras_3 == ()
    assert [weight.shape for weight in summarise_model(path).weights] == [
        weight.shape for weight in summarise_model(_DATA / name).weights
    ]


def test_a_model_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(translating, "STEEPER", 1.0)

    with pytest.raises(RefusedError, match="differ by up to") as caught:
        _translated("keras2_recurrent.h5", tmp_path)

    assert caught.value.failure.code == "keras2_differs"


def test_without_keras_2_the_refusal_says_who_can_help(tmp_path, monkeypatch):
    monkeypatch.setitem(translating.importlib.sys.modules, "tf_keras", None)

    with pytest.raises(RefusedError, match="espalier\\[keras2\\]") as caught:
        _translated("keras2_list.h5", tmp_path)

    assert caught.value.failure.code == "keras2_unavailable"
