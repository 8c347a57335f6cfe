"""A space as a text table."""

from __future__ import annotations

from collections.abc import Sequence

from rush_opt.space.condition import Condition
from rush_opt.space.constraint import Constraint, called
from rush_opt.space.parameter import Parameter

__all__ = ["table"]


def table(
    names: Sequence[str], parameters: Sequence[Parameter], constraints: Sequence[Constraint]
) -> str:
    """Return a text with a line per parameter and a line per constraint."""
    rows = [("parameter", "kind", "values", "active when")]
    for name, parameter in zip(names, parameters, strict=True):
        when = str(Condition.of(parameter.when) or "")
        rows.append((name, type(parameter).__name__, parameter.domain(), when))
    if not any(row[3] for row in rows[1:]):
        rows = [(*row[:3], "") for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(map(str.ljust, row, widths)).rstrip()
        for row in [rows[0], tuple("-" * width for width in widths), *rows[1:]]
    ]
    return "\n".join([*lines, *(f"constraint: {called(c)}" for c in constraints)])
