"""From dropping the files to the download, with nothing in between but the page."""

import hashlib

import pytest
from playwright.sync_api import expect

from tests.browser.walk import EPOCHS


def test_dropped_files_show_at_once_what_can_be_pruned(walk):
    assert walk.layers == ["conv1", "conv2", "hidden", "predictions"]


def test_the_forecast_is_what_came_of_it(walk):
    result = walk.job()["result"]

    assert walk.steps == f"{45 * EPOCHS} steps"
    assert walk.size.endswith(" kB")
    assert float(walk.size[:-3]) * 1000 == pytest.approx(result["artifacts"][0]["bytes"], rel=0.1)


def test_the_curves_of_sparsity_loss_and_accuracy_moved_while_it_trained(walk):
    first, last = walk.curves[0], walk.curves[-1]

    assert set(last) == {"Sparsity", "Loss", "Accuracy"}
    assert len({moment["Loss"] for moment in walk.curves}) > 2
    assert all(last[name] > first[name] for name in last)


def test_the_bar_of_a_layer_moved_while_it_trained(walk):
    assert len(set(walk.shares)) > 2
    assert walk.shares == sorted(walk.shares)


def test_the_download_is_the_file_that_the_page_describes(walk):
    content = walk.file.read_bytes()

    assert walk.page.locator(".downloads .hash").inner_text() == hashlib.sha256(content).hexdigest()
    assert f"{len(content) / 1000:.0f} kB" in walk.page.locator(".downloads").inner_text()


def test_before_and_after_are_the_figures_of_the_job(walk):
    result = walk.job()["result"]
    rows = walk.page.locator(".comparison tbody tr").all_inner_texts()
    cells = {row.split("\t")[0]: row.split("\t")[1:3] for row in rows}

    before, after = result["baseline"]["accuracy"], result["pruned"]["accuracy"]
    assert cells["Accuracy"] == [f"{100 * before:.2f} %", f"{100 * after:.2f} %"]
    parameters = result["parameters"]
    assert cells["Weights that are not zero"] == [
        f"{parameters['total']:,}",
        f"{parameters['nonzero']:,}",
    ]


def test_the_layers_have_the_sparsity_that_was_counted_in_the_file(walk):
    counted = [layer for layer in walk.job()["result"]["layers"] if layer["pruned"]]
    shown = walk.page.locator(".layers .card > div > ul .value").all_inner_texts()

    assert [float(text[:-2]) for text in shown] == [
        round(100 * layer["sparsity"], 1) for layer in counted
    ]


def test_nothing_was_loaded_from_elsewhere_and_the_browser_had_no_complaint(walk, address):
    assert not walk.watched.complaints
    assert all(url.startswith((f"{address}/", "blob:")) for url in walk.watched.requested)


def test_a_shared_link_shows_the_result_to_somebody_else(walk, opened, shoot):
    other = opened(f"/jobs/{walk.job_id}", color_scheme="dark").page

    expect(other.get_by_role("heading", name="digits.keras")).to_be_visible()
    expect(other.get_by_role("link", name="Download model.keras")).to_be_visible()
    expect(other.locator(".curves .panel")).to_have_count(3)
    shoot(other, "result-dark")


def test_what_tells_of_the_run_is_offered_beside_the_model(walk):
    names = walk.page.locator(".downloads .name")

    expect(names).to_have_text(["model.keras", "bundle.zip", f"events.out.tfevents.{walk.job_id}"])


def test_the_report_has_the_figures_of_the_job_and_loads_nothing_else(walk, opened, shoot):
    watched = opened(f"/jobs/{walk.job_id}")
    page, result = watched.page, walk.job()["result"]
    expect(page.locator(".downloads")).to_be_visible()
    watched.requested.clear()

    page.get_by_role("link", name="Report").click()

    expect(page.get_by_role("heading", name="Baseline against pruned")).to_be_visible()
    assert f"{100 * result['pruned']['accuracy']:.2f} %" in page.locator(".comparison").inner_text()
    assert page.locator("svg.plot").count() == 3
    pruned = [layer for layer in result["layers"] if layer["pruned"]]
    assert page.locator(".layer-list svg.share").count() == len(pruned)
    assert watched.requested == [page.url]
    assert not watched.complaints
    shoot(page, "report")


def test_pruning_again_starts_from_the_same_files_and_settings(walk, opened):
    page = opened(f"/jobs/{walk.job_id}").page

    page.get_by_role("link", name="Prune again").click()

    expect(page.locator(".slot.filled .filename")).to_have_text(["digits.keras", "digits.npz"])
    expect(page.get_by_label("Epochs")).to_have_value(str(EPOCHS))
    expect(page.get_by_label("Sparsity at the end, exactly, in percent")).to_have_value("90")
    expect(page.get_by_label("Last update at step")).to_have_value("")


def test_a_job_is_deleted_only_after_a_question(walk, opened):
    page = opened(f"/jobs/{walk.job_id}").page
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    assert walk.job()["status"] == "succeeded"

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the job").click()

    page.wait_for_url("**/jobs")
    assert page.request.get(f"/v1/jobs/{walk.job_id}").status == 404
