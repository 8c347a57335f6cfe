"""Parameters as JSON, and back.

A new kind of parameter needs an entry in `KINDS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from rush_opt.space.choice import Boolean, Categorical, Constant, Ordinal
from rush_opt.space.condition import Condition
from rush_opt.space.numeric import Float, Integer
from rush_opt.space.parameter import Parameter

__all__ = ["KINDS", "dump_parameters", "load_parameters"]

KINDS: dict[str, type[Parameter]] = {
    kind.__name__: kind for kind in (Float, Integer, Categorical, Ordinal, Boolean, Constant)
}


def dump_parameters(pairs: Iterable[tuple[str, Parameter]], *, indent: int | None) -> str:
    """Write named parameters as a JSON object.

    Parameters
    ----------
    pairs : iterable of (str, Parameter)
    indent : int or None
        As for `json.dumps`.

    Raises
    ------
    ValueError
        If a parameter contains code, which JSON cannot hold.
    """
    return json.dumps(
        {"parameters": {name: _to_plain(name, p) for name, p in pairs}}, indent=indent
    )


def load_parameters(text: str | bytes) -> dict[str, Parameter]:
    """Read what `dump_parameters` wrote.

    Raises
    ------
    ValueError
        If the text does not describe a space.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("a space's JSON is nested too deep to be read") from None
    parameters = found.get("parameters") if isinstance(found, dict) else None
    if not isinstance(parameters, dict) or set(found) != {"parameters"}:
        raise ValueError(
            "a space's JSON needs to be an object with an object 'parameters' and nothing else, "
            f"got {text!r:.80}; write it with to_json()"
        )
    return {name: _from_plain(name, plain) for name, plain in parameters.items()}


def _to_plain(name: str, parameter: Parameter) -> dict[str, Any]:
    """Return the kind of a parameter and the settings that differ from its defaults."""
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


def _from_plain(name: str, plain: object) -> Parameter:
    """Build the parameter that `_to_plain` described."""
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
