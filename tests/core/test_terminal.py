"""What a terminal shows of text that comes from elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_core import printable


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
