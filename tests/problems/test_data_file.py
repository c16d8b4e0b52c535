from __future__ import annotations

import pytest

from thalweg.errors import MissingData
from thalweg.problems.data_file import find_data_file


def find(path=None):
    return find_data_file("table.csv", path, content="a table", remedy="Get it from the shelf.")


@pytest.fixture
def table(tmp_path):
    (tmp_path / "table.csv").write_text("a\n1\n")
    return tmp_path / "table.csv"


def test_a_path_a_folder_or_the_environment(table, monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    assert find(table) == find(str(table)) == find(table.parent) == table
    monkeypatch.setenv("THALWEG_DATA", str(table.parent))
    assert find() == table


def test_a_path_wins_over_the_environment(table, monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_DATA", str(table.parent))
    with pytest.raises(MissingData, match=r"looked at .*elsewhere"):
        find(tmp_path / "elsewhere")


def test_the_message_says_what_where_and_how(tmp_path, monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    with pytest.raises(FileNotFoundError) as nowhere:
        find()
    assert str(nowhere.value) == (
        "table.csv (a table) was not found: no path was given and the environment variable THALWEG_DATA is "
        "not set; pass path=... or set THALWEG_DATA to the folder that holds it. Get it from the shelf."
    )
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    with pytest.raises(MissingData, match=r"looked at .*table\.csv \(from the environment variable"):
        find()
    with pytest.raises(MissingData, match=r"looked at .*table\.csv; pass"):
        find(tmp_path)
