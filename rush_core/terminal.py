"""Text of other processes and machines, made safe for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


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
