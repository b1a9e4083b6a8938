"""docs/compatibility.md is what its command writes today, and nothing in it fails."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


@pytest.fixture(scope="module")
def tables():
    """{version: {column: cells}}, and the header of each."""
    found = {}
    parts = re.findall(r"^## ComfyUI (\S+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for version, text in parts:
        lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
        found[version] = {
            line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines if "---" not in line[0]
        }
    return found


def test_it_begins_with_the_oldest_version(tables):
    assert next(iter(tables)) == "0.3.64"


def test_it_has_the_rows_and_columns_of_the_command(tables):
    from compatibility import all_columns
    from compatibility_rows import ROWS

    for table in tables.values():
        assert table[""] == list(ROWS)
        ran = list(table)[1:]
        assert ran == [name for name in all_columns() if name in ran]
    for name in set(all_columns()) - set(tables["0.3.64"]):
        assert name in PAGE.read_text(), "a column that was not run is named"


def test_every_cell_ran_or_is_refused_in_a_sentence(tables):
    sentences = re.findall(r"^(\d+)\. ", PAGE.read_text(), re.MULTILINE)
    for table in tables.values():
        for column, cells in list(table.items())[1:]:
            for cell in cells:
                assert cell == "yes" or re.fullmatch(r"no \((\d+)\)", cell)[1] in sentences, column
