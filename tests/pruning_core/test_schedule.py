import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.errors import PruningConfigError
from pruning_core.schedule import Constant, Iterative, OneShot, PolynomialDecay

WORKED = PolynomialDecay(initial_sparsity=0.2, final_sparsity=0.8, begin_step=100, end_step=110)

fractions = st.floats(0, 1, exclude_max=True)
step_counts = st.integers(0, 2_000)


@st.composite
def rises(draw):
    return sorted((draw(fractions), draw(fractions)))


@st.composite
def schedules(draw):
    begin_step, end_step = sorted((draw(step_counts), draw(step_counts)))
    initial_sparsity, final_sparsity = draw(rises())
    frequency = draw(st.integers(1, 300))
    rounds = draw(st.integers(1, max(1, end_step - begin_step)))
    return draw(
        st.sampled_from(
            [
                Constant(
                    target_sparsity=final_sparsity,
                    begin_step=begin_step,
                    end_step=end_step,
                    frequency=frequency,
                ),
                PolynomialDecay(
                    initial_sparsity=initial_sparsity,
                    final_sparsity=final_sparsity,
                    begin_step=begin_step,
                    end_step=end_step,
                    frequency=frequency,
                    power=draw(st.floats(0.1, 10)),
                ),
                OneShot(target_sparsity=final_sparsity, begin_step=begin_step),
                Iterative(
                    initial_sparsity=initial_sparsity,
                    final_sparsity=final_sparsity,
                    rounds=rounds,
                    begin_step=begin_step,
                    end_step=end_step,
                ),
            ]
        )
    )


def last_step(schedule):
    return schedule.begin_step if isinstance(schedule, OneShot) else schedule.end_step


def updates(schedule, total_steps):
    return [step for step in range(total_steps + 1) if schedule.last_update(step) == step]


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [(0, 0.0), (99, 0.0), (100, 0.2), (102, 0.4928), (105, 0.725), (110, 0.8), (111, 0.8)],
)
def test_the_cubic_schedule_has_the_worked_values(step, sparsity):
    assert WORKED.sparsity_at(step) == pytest.approx(sparsity, abs=1e-12)


@pytest.mark.parametrize(
    ("power", "halfway"),
    [(1, 0.5), (2, 0.65), (3, 0.725)],
)
def test_the_power_bends_the_curve(power, halfway):
    schedule = PolynomialDecay(initial_sparsity=0.2, final_sparsity=0.8, end_step=10, power=power)

    assert schedule.sparsity_at(5) == pytest.approx(halfway)


def test_initial_sparsity_is_a_jump_at_the_first_update():
    schedule = PolynomialDecay(
        initial_sparsity=0.5, final_sparsity=0.8, begin_step=10, end_step=20, frequency=5
    )

    assert [schedule.sparsity_at(step) for step in (9, 10)] == [0.0, 0.5]


def test_a_range_of_no_steps_is_a_jump_to_the_final_sparsity():
    schedule = PolynomialDecay(initial_sparsity=0.5, final_sparsity=0.8, begin_step=7, end_step=7)

    assert [schedule.sparsity_at(step) for step in (6, 7, 8)] == [0.0, 0.8, 0.8]
    assert updates(schedule, 10) == [7]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        pytest.param(
            PolynomialDecay(begin_step=0, end_step=150, frequency=100),
            [0, 100, 150],
            id="frequency does not divide the range",
        ),
        pytest.param(
            PolynomialDecay(begin_step=3, end_step=9, frequency=3),
            [3, 6, 9],
            id="frequency divides the range",
        ),
        pytest.param(
            PolynomialDecay(begin_step=0, end_step=4, frequency=100),
            [0, 4],
            id="fewer steps than frequency",
        ),
        pytest.param(
            Constant(begin_step=2, end_step=11, frequency=4), [2, 6, 10, 11], id="constant"
        ),
        pytest.param(OneShot(begin_step=5), [5], id="one shot"),
        pytest.param(Iterative(rounds=3, begin_step=2, end_step=12), [2, 6, 9, 12], id="iterative"),
    ],
)
def test_updates_fall_on(schedule, expected):
    assert updates(schedule, total_steps=200) == expected


@pytest.mark.parametrize(
    ("span", "frequency"),
    [(0, 1), (18, 1), (79, 1), (80, 2), (703, 17), (3999, 99), (4000, 100), (10**6, 100)],
)
@pytest.mark.parametrize("kind", [Constant, PolynomialDecay])
def test_an_open_frequency_is_a_fortieth_of_the_range_up_to_a_hundred(kind, span, frequency):
    schedule = kind(begin_step=7, end_step=7 + span).resolved(total_steps=2 * 10**6)

    assert schedule.frequency == frequency


def test_a_frequency_that_is_given_is_kept():
    assert PolynomialDecay(frequency=100).resolved(total_steps=24).frequency == 100


def test_updates_of_a_schedule_with_an_open_frequency_are_refused():
    with pytest.raises(PruningConfigError, match="frequency is open") as caught:
        PolynomialDecay(end_step=10).last_update(5)

    assert caught.value.field == "frequency"


def test_a_range_that_frequency_does_not_divide_still_ends_at_the_target():
    schedule = PolynomialDecay(
        initial_sparsity=0.5, final_sparsity=0.8, begin_step=0, end_step=150, frequency=100
    )

    assert schedule.sparsity_at(schedule.last_update(1_000)) == 0.8


def test_iterative_rounds_remove_equal_shares_of_what_is_left():
    schedule = Iterative(final_sparsity=0.875, rounds=3, end_step=30)

    densities = [1 - schedule.sparsity_at(step) for step in (0, 10, 20, 30)]

    assert densities == pytest.approx([1, 0.5, 0.25, 0.125])


def test_iterative_starts_from_the_initial_sparsity():
    schedule = Iterative(initial_sparsity=0.5, final_sparsity=0.875, rounds=2, end_step=10)

    assert [schedule.sparsity_at(step) for step in (0, 4, 5, 10)] == [0.5, 0.5, 0.75, 0.875]


@pytest.mark.parametrize("step", [3, 4, 1_000])
def test_one_shot_and_constant_hold_their_level(step):
    assert OneShot(target_sparsity=0.7, begin_step=3).sparsity_at(step) == 0.7
    assert Constant(target_sparsity=0.7, begin_step=3).sparsity_at(step) == 0.7


@pytest.mark.parametrize("schedule_type", [OneShot, Constant])
def test_nothing_is_pruned_before_the_first_step(schedule_type):
    schedule = schedule_type(target_sparsity=0.7, begin_step=3).resolved(10)

    assert schedule.sparsity_at(2) == 0.0
    assert schedule.last_update(2) is None


@given(schedules(), step_counts)
def test_sparsity_never_falls(schedule, step):
    assert schedule.sparsity_at(step) <= schedule.sparsity_at(step + 1)


@given(schedules())
def test_the_last_update_lands_on_the_end_and_reaches_the_last_sparsity(schedule):
    end_step = last_step(schedule)

    assert schedule.last_update(end_step) == end_step
    assert schedule.last_update(end_step + 10_000) == end_step
    assert schedule.sparsity_at(end_step) == schedule.last_sparsity


@given(schedules(), step_counts)
def test_the_latest_update_is_never_ahead_and_is_an_update_itself(schedule, step):
    latest = schedule.last_update(step)

    if latest is None:
        assert step < schedule.begin_step
    else:
        assert schedule.begin_step <= latest <= step
        assert schedule.last_update(latest) == latest


@given(rises(), st.integers(0, 50), st.integers(1, 50), st.integers(0, 150), st.floats(0.5, 5))
def test_the_decay_equals_the_formula_written_another_way(rise, begin, span, step, power):
    initial, final = rise
    schedule = PolynomialDecay(
        initial_sparsity=initial,
        final_sparsity=final,
        begin_step=begin,
        end_step=begin + span,
        power=power,
    )

    left = max(0.0, 1 - (step - begin) / span)
    share_of_the_way = 1 - math.exp(power * math.log(left)) if left else 1.0
    expected = initial + share_of_the_way * (final - initial) if step >= begin else 0.0
    assert schedule.sparsity_at(step) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("schedule", "total_steps", "end_step"),
    [
        (PolynomialDecay(), 100, 75),
        (PolynomialDecay(begin_step=20), 100, 80),
        (PolynomialDecay(end_step=90), 100, 90),
        (PolynomialDecay(), 0, 0),
        (Iterative(), 100, 75),
        (Constant(), 100, 100),
        (Constant(end_step=10), 100, 10),
    ],
)
def test_an_open_end_is_filled_in(schedule, total_steps, end_step):
    assert schedule.resolved(total_steps).end_step == end_step


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (PolynomialDecay(end_step=101), "end_step"),
        (PolynomialDecay(begin_step=101), "begin_step"),
        (Constant(end_step=101), "end_step"),
        (Constant(begin_step=101), "begin_step"),
        (OneShot(begin_step=101), "begin_step"),
        (Iterative(end_step=101, rounds=2), "end_step"),
    ],
)
def test_a_target_that_would_not_be_reached_is_refused(schedule, field):
    with pytest.raises(PruningConfigError, match=r"\(100\)") as caught:
        schedule.resolved(100)

    assert caught.value.field == field


@pytest.mark.parametrize("total_steps", [100, 101])
def test_a_schedule_may_end_with_the_training(total_steps):
    assert OneShot(begin_step=100).resolved(total_steps).begin_step == 100
    assert PolynomialDecay(end_step=100).resolved(total_steps).end_step == 100


@pytest.mark.parametrize("schedule", [PolynomialDecay(), Iterative()])
def test_a_schedule_with_an_open_end_has_no_sparsity_yet(schedule):
    with pytest.raises(PruningConfigError, match="resolved"):
        schedule.sparsity_at(0)


@pytest.mark.parametrize(
    ("schedule_type", "settings", "field"),
    [
        (Constant, {"target_sparsity": 50}, "target_sparsity"),
        (Constant, {"target_sparsity": 1.0}, "target_sparsity"),
        (Constant, {"target_sparsity": -0.1}, "target_sparsity"),
        (Constant, {"target_sparsity": math.nan}, "target_sparsity"),
        (Constant, {"frequency": 0}, "frequency"),
        (Constant, {"begin_step": -1}, "begin_step"),
        (Constant, {"begin_step": 5, "end_step": 4}, "end_step"),
        (OneShot, {"target_sparsity": 1.0}, "target_sparsity"),
        (OneShot, {"begin_step": -1}, "begin_step"),
        (PolynomialDecay, {"final_sparsity": 1.0}, "final_sparsity"),
        (PolynomialDecay, {"initial_sparsity": -0.5}, "initial_sparsity"),
        (PolynomialDecay, {"initial_sparsity": 0.9, "final_sparsity": 0.8}, "final_sparsity"),
        (Iterative, {"initial_sparsity": 0.9, "final_sparsity": 0.8}, "final_sparsity"),
        (PolynomialDecay, {"frequency": 0}, "frequency"),
        (PolynomialDecay, {"power": 0}, "power"),
        (PolynomialDecay, {"power": math.inf}, "power"),
        (PolynomialDecay, {"begin_step": 5, "end_step": 4}, "end_step"),
        (Iterative, {"final_sparsity": 1.0}, "final_sparsity"),
        (Iterative, {"rounds": 0}, "rounds"),
        (Iterative, {"rounds": 5, "end_step": 4}, "rounds"),
    ],
)
def test_a_setting_outside_its_domain_is_refused_by_name(schedule_type, settings, field):
    with pytest.raises(PruningConfigError, match=r"Received: ") as caught:
        schedule_type(**settings)

    assert caught.value.field == field


@pytest.mark.parametrize("schedule_type", [Constant, OneShot, PolynomialDecay, Iterative])
def test_a_sparsity_that_was_left_open_is_filled_in_once(schedule_type):
    schedule = schedule_type()

    with pytest.raises(PruningConfigError, match="is open: ask with_sparsity"):
        _ = schedule.last_sparsity
    assert schedule.with_sparsity(0.6).with_sparsity(0.9).last_sparsity == 0.6


def test_a_sparsity_below_the_initial_one_cannot_be_filled_in():
    with pytest.raises(PruningConfigError, match="final_sparsity must not be below"):
        PolynomialDecay(initial_sparsity=0.9).with_sparsity(0.8)


def test_more_rounds_than_steps_are_refused_when_the_end_is_known():
    with pytest.raises(PruningConfigError, match="rounds must be at most") as caught:
        Iterative(rounds=5).resolved(total_steps=4)

    assert caught.value.field == "rounds"
