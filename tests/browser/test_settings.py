"""What the form offers is what the service takes, and it says what it will send."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.moves import figure


@pytest.fixture
def form(page, uploaded) -> Page:
    """The form with its files, unfolded."""
    page.goto(uploaded)
    page.get_by_text("More settings").click()
    page.get_by_text("The same as an API call").click()
    _expect_accepted(page)
    return page


def _expect_accepted(page: Page) -> None:
    expect(page.get_by_role("button", name="Start pruning")).to_be_enabled()
    expect(page.locator(".fault")).to_have_count(0)


def _spec(page: Page) -> dict:
    """The spec in the command that the page shows."""
    command = page.locator(".call pre").inner_text()
    return json.loads(re.search(r"-d '(.*)' http", command)[1])["spec"]


@pytest.mark.parametrize("label", ["Weights go", "Shared among layers"])
def test_every_choice_is_one_that_the_service_takes(form, label):
    select = form.get_by_label(label)
    choices = select.locator("option").evaluate_all("options => options.map(({ value }) => value)")

    for choice in choices:
        select.select_option(choice)
        expect(form.get_by_role("button", name="Start pruning")).to_be_disabled()
        _expect_accepted(form)


@pytest.mark.parametrize("name", ["In rounds", "At once", "Constant", "Gradual"])
def test_every_schedule_is_one_that_the_service_takes(form, name):
    form.get_by_label(name, exact=True).check()
    form.get_by_label("Sparsity at the end, exactly, in percent").fill("97.5")

    _expect_accepted(form)
    assert figure(form, "Zeros") == "97.5 %"


def test_a_pattern_says_by_itself_how_far(form):
    form.get_by_label("Weights go").select_option("n_of_m")

    expect(form.get_by_label("Sparsity at the end", exact=True)).to_be_hidden()
    _expect_accepted(form)
    assert "final_sparsity" not in _spec(form)["schedule"]


def test_whole_filters_are_left_out_of_a_file_unless_its_tick_is_taken_away(form):
    box = form.get_by_label(".keras without the filters")
    expect(box).to_be_hidden()

    form.get_by_label("Weights go").select_option("channel")

    expect(box).to_be_checked()
    expect(form.locator(".call pre")).to_contain_text("artifacts")
    _expect_accepted(form)
    assert _spec(form)["artifacts"] == ["keras", "keras_compact"]
    form.get_by_label("Weights go").select_option("unstructured")
    expect(box).to_be_hidden()
    expect(form.locator(".call pre")).not_to_contain_text("artifacts")


def test_what_is_left_empty_is_left_to_the_service(form):
    expect(form.locator(".call pre")).to_be_visible()

    assert _spec(form) == {
        "schedule": {"kind": "polynomial_decay", "initial_sparsity": 0, "final_sparsity": 0.8}
    }


def test_a_fraction_is_a_number(form):
    form.get_by_label("Multiply inputs by").fill("1/255")

    _expect_accepted(form)
    assert _spec(form)["preprocessing"] == {"rescale": 1 / 255}


def test_the_learning_rate_cools_down_unless_its_tick_is_taken_away(form):
    form.get_by_label("Let the learning rate fall to zero").uncheck()

    _expect_accepted(form)
    assert _spec(form)["training"] == {"cool_down": False}


def test_a_receiver_is_told_only_where_one_is_named(form):
    form.get_by_label("Tell when it has ended").fill("https://hook.invalid/espalier")

    _expect_accepted(form)
    assert _spec(form)["webhook"] == {"url": "https://hook.invalid/espalier"}
    form.get_by_label("Tell when it has ended").fill("")
    _expect_accepted(form)
    assert "webhook" not in _spec(form)


def test_a_receiver_that_may_not_be_told_is_refused_at_its_field(form):
    form.get_by_label("Tell when it has ended").fill("http://127.0.0.1/hook")

    fault = form.locator("[data-pointer='/webhook'] .fault")
    expect(fault).to_contain_text("url must lead to a public address")
    expect(form.get_by_role("button", name="Start pruning")).to_be_disabled()
