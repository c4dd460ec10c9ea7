import numpy as np
import pytest

from worker.agreement import Agreement


@pytest.mark.parametrize(
    ("threshold", "before", "after", "agreement"),
    [
        pytest.param(None, [[0.6, 0.4], [0.2, 0.8]], [[0.9, 0.1], [0.7, 0.3]], 0.5, id="classes"),
        pytest.param(None, [[0.6, 0.4], [0.2, 0.8]], [[-1.0, -9.0], [-3.0, 8.0]], 1.0, id="logits"),
        pytest.param(0.5, [[0.51], [0.49], [0.9]], [[0.6], [0.6], [0.6]], 2 / 3, id="sides"),
        pytest.param(
            0.0, [[0.51], [0.49], [0.9]], [[0.4], [-3.0], [-0.1]], 2 / 3, id="side logits"
        ),
        pytest.param(0.5, [[0.9, 0.1]], [[0.9, 0.9]], 0.5, id="each of several flags counts"),
    ],
)
def test_counts_the_choices_that_are_made_again(threshold, before, after, agreement):
    metric = Agreement(threshold)

    metric.update_state(np.array(before, np.float32), np.array(after, np.float32))

    assert float(metric.result()) == pytest.approx(agreement)


def test_a_copy_counts_alike():
    copy = Agreement.from_config(Agreement(0.0).get_config())

    copy.update_state(np.array([[0.9]]), np.array([[0.1]]))

    assert (copy.name, float(copy.result())) == ("agreement", 1.0)
