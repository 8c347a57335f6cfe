"""Text of other processes and machines, made safe for a terminal; times and tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

__all__ = ["duration_text", "local_time", "printable", "table_lines"]

_UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))


def printable(text: str, *, indent: str | None = None) -> str:
    r"""Return a text with everything escaped that a terminal would not show as a character.

    These are control characters, among them those that begin escape sequences, and characters that
    change the direction of writing or are invisible.

    Parameters
    ----------
    text : str
    indent : str, optional
        What the second line and further ones begin with. By default line breaks are escaped too, so
        that the text is one line.

    Examples
    --------
    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    if indent is not None:
        return f"\n{indent}".join(map(printable, text.split("\n")))
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def local_time(seconds: float, *, decimals: int = 0) -> str:
    """Return a time, seconds since 1970, as date and time of day in the zone of this machine.

    A time outside the years 1 to 9999 is returned as seconds.

    Parameters
    ----------
    seconds : float
    decimals : int
        Of the seconds: 0 or 3.

    Examples
    --------
    >>> local_time(1_800_000_000.25, decimals=3)  # in UTC
    '2027-01-15 08:00:00.250'
    """
    try:
        time = datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return f"{seconds:.3f}"
    return time.isoformat(" ", "milliseconds" if decimals else "seconds")


def duration_text(seconds: float) -> str:
    """Return a duration in seconds as a short text with one unit.

    Examples
    --------
    >>> duration_text(0.25), duration_text(100), duration_text(5400)
    ('0.25 s', '100 s', '90 min')
    """
    unit_s, unit = next((unit for unit in _UNITS if seconds >= 2 * unit[0]), (1.0, "s"))
    n = seconds / unit_s
    return f"{n:.0f} {unit}" if n >= 10 else f"{n:.2g} {unit}"


def table_lines(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return rows of a table as lines with aligned columns, two spaces apart.

    Parameters
    ----------
    rows : sequence of sequence of str
        All of one length. Everything that a terminal would not show is escaped.
    right : sequence of int
        The columns, from 0, that are aligned on the right.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
