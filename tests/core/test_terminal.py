"""What a terminal shows of text that comes from elsewhere."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_core import duration_text, local_time, printable, table_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, é, ∞, 漢字", "plain text, é, ∞, 漢字"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202eabc\u2028\u200b", r"\u202eabc\u2028\u200b"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_not_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_a_printable_text_is_one_line_unless_it_may_have_more(text: str) -> None:
    assert printable(text).isprintable()
    first, *others = printable(text, indent="> ").split("\n")
    assert len(others) == text.count("\n")
    assert all(line.startswith("> ") for line in others)
    assert all(line.isprintable() for line in (first, *others))


@pytest.mark.parametrize("seconds", [0.0, 1e300, -1e300, float("inf"), 253402300800.0, 1.8e9])
def test_any_time_is_shown_in_one_line(seconds: float) -> None:
    shown = local_time(seconds, decimals=3)
    assert shown.isprintable()
    if seconds == 1.8e9:
        assert datetime.fromisoformat(shown).timestamp() == seconds


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0.0, "0 s"), (0.25, "0.25 s"), (9.96, "10 s"), (100.0, "100 s"), (5400.0, "90 min")),
        *((7200.0, "2 h"), (86400.0, "24 h"), (864_000.0, "10 days")),
    ],
)
def test_a_duration_has_one_unit(seconds: float, shown: str) -> None:
    assert duration_text(seconds) == shown


def test_columns_of_a_table_are_aligned_and_escaped() -> None:
    rows = [("name", "n"), ("a\x1b", "10"), ("longer", "9")]
    assert table_lines(rows, right=[1]) == [r"name     n", r"a\x1b   10", r"longer   9"]
    assert table_lines([]) == []
