"""Data that are no arrays: what the page makes of a table, and where its labels are said."""

from playwright.sync_api import expect

from tests.browser.moves import choose


def test_a_table_asks_where_its_labels_are_and_takes_the_answer(page, files, tmp_path):
    names = ",".join([*(f"p{place}" for place in range(64)), "digit"])
    rows = "\n".join(",".join(["1"] * 64 + [str(row % 10)]) for row in range(200))
    (tmp_path / "digits.csv").write_text(f"{names}\n{rows}\n")
    choose(page, "model", files / "digits.keras")
    expect(page.get_by_label("Labels are in")).to_be_hidden()

    choose(page, "data", tmp_path / "digits.csv")

    expect(page.locator("[data-slot=data]")).to_contain_text("65 columns")
    # Its labels taken for a pixel, a row is one too long.
    expect(page.locator("[data-slot=data] .fault")).to_contain_text("65 columns")
    page.get_by_text("More settings").click()
    page.get_by_label("Labels are in").fill("digit")
    expect(page.get_by_role("button", name="Start pruning")).to_be_enabled()
    expect(page.locator(".figures")).to_contain_text("180 samples")
