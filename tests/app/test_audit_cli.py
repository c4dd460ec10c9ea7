import pytest
from typer.testing import CliRunner

from app.cli import app


@pytest.fixture
def espalier(tmp_path):
    """Return a function that runs the command line and returns its exit status and words."""

    def run(*arguments):
        answer = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path)])
        return answer.exit_code, answer.output

    return run


def test_the_audit_is_printed_a_line_a_row_the_newest_last(espalier):
    key_id = espalier("keys", "create", "ours")[1].split("_")[1]
    espalier("keys", "revoke", key_id)

    status, said = espalier("audit")

    lines = [line.split() for line in said.splitlines()]
    assert status == 0
    assert [line[1:] for line in lines] == [
        ["ours", "-", "key_created", key_id],
        ["ours", "-", "key_revoked", key_id],
    ]
    assert all(line[0].endswith("+00:00") for line in lines)


def test_only_the_last_rows_are_printed_where_few_are_asked_for(espalier):
    for tenant in ("first", "second", "third"):
        espalier("keys", "create", tenant)

    said = espalier("audit", "--limit", "2")[1]

    assert [line.split()[1] for line in said.splitlines()] == ["second", "third"]
