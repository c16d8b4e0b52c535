from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.cli.output import print_table
from thalweg.cli.table import table_lines
from thalweg.numbers import number, with_error

COLUMNS = ("", "rate", "test loss", "ends")
ROWS = [
    ("schedule_free_adamw(weight_decay=0.1)", "1.2 × 10⁻⁵", "0.2213 ± 0.0012", "minimum (3.584, −1.848)"),
    ("sgd", "0.1", "diverged", "cycling with period 2"),
]


def flat(table: Sequence[Sequence[str]]) -> list[str]:
    return [line for row in table for line in row]


def test_as_wide_as_it_is_without_a_limit() -> None:
    table = table_lines(COLUMNS, ROWS)
    assert [len(row) for row in table] == [1, 1, 1]
    assert flat(table) == [
        "                                             rate        test loss  ends",
        "schedule_free_adamw(weight_decay=0.1)  1.2 × 10⁻⁵  0.2213 ± 0.0012  minimum (3.584, −1.848)",
        "sgd                                           0.1         diverged  cycling with period 2",
    ]
    assert table_lines(COLUMNS, ROWS, 91) == table


def test_the_widest_cells_fold_first() -> None:
    assert flat(table_lines(COLUMNS, ROWS, 80)) == [
        "                           rate        test loss  ends",
        "schedule_free_adamw  1.2 × 10⁻⁵  0.2213 ± 0.0012  minimum (3.584, −1.848)",
        "(weight_decay=0.1)",
        "sgd                         0.1         diverged  cycling with period 2",
    ]


def test_no_word_or_number_is_cut_however_narrow() -> None:
    lines = flat(table_lines(COLUMNS, ROWS, 1))
    told = " ".join(lines)
    for piece in ("schedule_free_adamw", "(weight_decay=0.1)", "1.2 × 10⁻⁵", "0.2213", "± 0.0012", "(3.584,"):
        assert piece in told
    assert lines == flat(table_lines(COLUMNS, ROWS, 40))


def test_sides() -> None:
    # The first column and words to the left, numbers to the right, and so a column of both.
    assert flat(table_lines(("a", "b", "c"), [("1", "never", "long"), ("22", "12", "x")])) == [
        "a       b  c",
        "1   never  long",
        "22     12  x",
    ]
    assert flat(table_lines(("a", "bc"), [])) == ["a  bc"]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.one_of(
    NUMBERS.map(number),
    st.builds(with_error, NUMBERS, st.floats(0, 1e300)),
    NUMBERS.map(lambda value: f"{number(value)} %"),
    st.sampled_from(["", "—", "diverged", "adamw(eps=0.1)", "230 (2 of 3)", "minimum (1, −2)"]),
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4), st.integers(1, 80))
def test_folding_keeps_all_that_is_said(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = ("", "test loss", "share")
    table = table_lines(columns, rows, width)
    natural = table_lines(columns, rows)
    assert len(table) == len(natural) == len(rows) + 1

    def characters(lines: Sequence[str]) -> list[str]:
        return sorted(re.sub(r"\s", "", "".join(lines)))

    for folded, whole in zip(table, natural, strict=True):
        assert characters(folded) == characters(whole)
        assert all(line == line.rstrip() for line in folded)
        # A number never ends with its power of ten or its unit elsewhere.
        assert not any(re.search(r"×$|^\s*(×|%)", line) for line in folded)
    widest = max(map(len, flat(natural)))
    if widest <= width:
        assert table == natural
    assert max(map(len, flat(table))) <= max(widest, width)


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_folds(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    class Out(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out = Out()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    print_table(COLUMNS, ROWS)
    assert out.getvalue().splitlines() == flat(table_lines(COLUMNS, ROWS, 80 if terminal else None))
