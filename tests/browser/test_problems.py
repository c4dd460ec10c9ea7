"""What the service refuses is said in its words, beside what it is about."""

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.moves import choose


@pytest.fixture
def filled(page, uploaded):
    """The page with the model and its data."""
    page.goto(uploaded)
    expect(page.get_by_role("button", name="Start pruning")).to_be_enabled()
    return page


def test_a_refused_model_is_told_where_it_was_dropped(page, tmp_path, shoot):
    (tmp_path / "notes.keras").write_text("not a model")

    page.set_input_files("[data-slot=model] input", tmp_path / "notes.keras")

    alert = page.locator("[data-slot=model]").get_by_role("alert")
    expect(alert).to_contain_text("The file is neither a .keras archive nor a Keras HDF5 file.")
    expect(alert).to_contain_text("model.save('model.keras')")
    expect(page.get_by_role("button", name="Start pruning")).to_be_disabled()
    shoot(page, "refused-model")


def test_a_fault_stands_at_its_field_and_goes_when_it_is_mended(filled, shoot):
    initial = filled.get_by_label("Sparsity at the first update, exactly, in percent")

    initial.fill("95")

    fault = filled.locator(".field", has_text="Sparsity at the end").locator(".fault")
    expect(fault).to_have_text(
        "final_sparsity must not be below initial_sparsity (0.95). Received: 0.8"
    )
    final = filled.get_by_label("Sparsity at the end, exactly, in percent")
    expect(final).to_have_attribute("aria-invalid", "true")
    expect(filled.get_by_role("button", name="Start pruning")).to_be_disabled()
    shoot(filled, "fault")

    initial.fill("50")

    expect(fault).to_have_count(0)
    expect(filled.get_by_role("button", name="Start pruning")).to_be_enabled()


def test_a_fault_in_a_folded_field_unfolds_it(filled):
    filled.get_by_text("More settings").click()
    filled.get_by_label("Last update at step").fill("999999")
    expect(filled.locator(".fault")).to_have_count(1)
    filled.get_by_text("More settings").click()

    filled.get_by_label("Epochs").fill("3")

    expect(filled.locator("details .fault")).to_contain_text("end_step must be at most")
    expect(filled.locator("details .fault")).to_be_visible()


def test_data_that_do_not_fit_the_model_are_told_at_the_data(page, files, tmp_path):
    np.savez(tmp_path / "wrong.npz", x_train=np.ones((9, 5)), y_train=np.zeros(9, "int64"))
    choose(page, "model", files / "digits.keras")

    choose(page, "data", tmp_path / "wrong.npz")

    fault = page.locator("[data-slot=data] .fault")
    expect(fault).to_contain_text("must have the shape that the model's input")


def test_without_data_the_page_says_what_that_means(page, files):
    choose(page, "model", files / "digits.keras")

    expect(page.locator(".notes")).to_contain_text("Without data the model is pruned at once")
    expect(page.locator(".figures")).to_contain_text("pruned in one go")


def test_a_layer_without_its_tick_stays_dense(filled):
    filled.get_by_label("Prune conv1").uncheck()

    row = filled.locator(".layers li", has_text="conv1").first
    expect(row).to_contain_text("skipped: its name matches 'conv1'")


def test_a_job_that_is_not_there_is_told(opened):
    page = opened("/jobs/job_nothing").page

    expect(page.get_by_role("alert")).to_contain_text("There is no such job")
    expect(page.get_by_role("link", name="All jobs")).to_be_visible()
