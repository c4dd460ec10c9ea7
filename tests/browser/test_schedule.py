"""The curve that the page draws by itself, held against the library's schedules."""

import dataclasses
import random

from pruning_core.schedule import Constant, Iterative, OneShot, PolynomialDecay

_TOTAL_STEPS = 777
_SETTINGS = 200

_EVALUATE = """async ([settings, total, steps]) => {
  const { resolved, maskSparsityAt, corners } = await import("/assets/schedule.js");
  return settings.map((setting) => {
    const schedule = resolved(setting, total);
    const drawn = corners(schedule, total);
    const along = (step) => drawn.findLast(([there]) => there <= step)[1];
    return {
      end: schedule.end_step ?? null,
      masks: steps.map((step) => maskSparsityAt(schedule, step)),
      drawn: steps.map(along),
    };
  });
}"""


def _schedules():
    """Yield schedules of every kind, some with their ends left open."""
    chance = random.Random(0)  # noqa: S311 - nothing here is secret
    for _ in range(_SETTINGS):
        low, high = sorted(chance.randrange(100) / 100 for _ in range(2))
        begin = chance.choice([0, 0, chance.randrange(300)])
        end = chance.choice([None, begin, begin + chance.randrange(30, 400)])
        frequency = chance.choice([None, 1, 7, 100, 1000])
        yield chance.choice(
            [
                Constant(target_sparsity=high, begin_step=begin, end_step=end, frequency=frequency),
                OneShot(target_sparsity=high, begin_step=begin),
                Iterative(
                    initial_sparsity=low,
                    final_sparsity=high,
                    rounds=chance.randrange(1, 12),
                    begin_step=begin,
                    end_step=end,
                ),
                PolynomialDecay(
                    initial_sparsity=low,
                    final_sparsity=high,
                    begin_step=begin,
                    end_step=end,
                    frequency=frequency,
                    power=chance.choice([1.0, 3.0, 0.5]),
                ),
            ]
        )


def _mask_sparsity(schedule, step):
    update = schedule.last_update(step)
    return 0.0 if update is None else schedule.sparsity_at(update)


def test_the_page_draws_what_the_library_does(page):
    schedules = list(_schedules())
    steps = [*range(0, _TOTAL_STEPS, 13), _TOTAL_STEPS]

    answers = page.evaluate(
        _EVALUATE, [[dataclasses.asdict(each) for each in schedules], _TOTAL_STEPS, steps]
    )

    for schedule, answer in zip(schedules, answers, strict=True):
        resolved = schedule.resolved(_TOTAL_STEPS)
        expected = [_mask_sparsity(resolved, step) for step in steps]
        assert answer["end"] == getattr(resolved, "end_step", None), schedule
        assert all(abs(a - b) < 1e-9 for a, b in zip(answer["masks"], expected, strict=True))
        # So many updates that not each is drawn: then the line is one step of the stairs off.
        nearly = 0.05 if getattr(resolved, "frequency", 100) < 7 else 1e-9
        assert all(abs(a - b) < nearly for a, b in zip(answer["drawn"], expected, strict=True)), (
            schedule
        )


def test_the_curve_moves_with_the_slider_and_before_any_file_is_there(page):
    line = page.locator(".curve .stairs")
    before = line.get_attribute("d")

    page.get_by_role("slider", name="Sparsity at the end").press("Home")

    assert line.get_attribute("d") != before
