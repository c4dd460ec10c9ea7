import json

from tests.app.api.conftest import DATA


def test_each_weight_is_shown_with_what_can_become_of_it(espalier):
    answer = espalier("inspect", DATA / "small.keras")

    assert answer.exit_code == 0
    assert "/kernel" in answer.stdout
    assert "yes" in answer.stdout
    assert "212 parameters" in answer.stdout


def test_json_is_what_the_service_would_say_of_the_model(espalier):
    summary = json.loads(espalier("inspect", DATA / "small.keras", "--json").stdout)

    assert summary["parameters"] == 212


def test_a_file_that_the_service_would_refuse_is_refused_with_the_reason(espalier, tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("not a model")

    answer = espalier("inspect", path)

    assert answer.exit_code == 1
    assert "Keras" in answer.stderr
