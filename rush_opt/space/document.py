"""A space written down: parameters as the plain data that JSON holds, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from rush_opt.space.choice import Boolean, Categorical, Constant, Ordinal
from rush_opt.space.condition import Condition
from rush_opt.space.constraint import Constraint, called
from rush_opt.space.numeric import Float, Integer
from rush_opt.space.parameter import Parameter

KINDS: dict[str, type[Parameter]] = {
    kind.__name__: kind for kind in (Float, Integer, Categorical, Ordinal, Boolean, Constant)
}


def to_plain(name: str, parameter: Parameter) -> dict[str, Any]:
    """Describe a parameter by its kind and whatever differs from the kind's defaults.

    Raises
    ------
    ValueError
        If its kind is made of code.
    """
    kind = type(parameter).__name__
    if kind not in KINDS:
        raise ValueError(
            f"parameter {name!r} cannot be written as JSON, which holds no code: a {kind}; "
            "pickle the space"
        )
    settings = {
        setting: value.to_plain() if isinstance(value, Condition) else value
        for setting, value in parameter.settings().items()
    }
    return {"kind": kind, **settings}


def parameter_from_plain(name: str, plain: object) -> Parameter:
    """Build the parameter that `to_plain` described.

    Raises
    ------
    ValueError
        If the kind is unknown or has no such settings.
    """
    settings = dict(plain) if isinstance(plain, dict) else {}
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"parameter {name!r} needs a kind of {sorted(KINDS)}, got {plain!r}; write the JSON "
            "with to_json()"
        )
    unknown = set(settings) - {part.name for part in fields(KINDS[kind]) if part.init}
    if unknown:
        raise ValueError(f"parameter {name!r}, a {kind}, has no settings {sorted(unknown)}")
    try:
        return KINDS[kind](**settings)
    except TypeError as error:
        raise ValueError(f"parameter {name!r}: {error}") from None


def table(
    names: Sequence[str], parameters: Sequence[Parameter], constraints: Sequence[Constraint]
) -> str:
    """Write a line per parameter and one per constraint."""
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
