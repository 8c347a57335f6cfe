"""What may be a parameter of a space, and what may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rush_opt.space.choice import Constant
from rush_opt.space.parameter import Parameter


def as_parameter(value: object) -> object:
    """Take a plain value as fixed; what is neither is refused later, by name."""
    if isinstance(value, str | int | float | bool | None | np.generic):
        return Constant(value)
    return value


def check_parameters(pairs: Sequence[tuple[Any, object]]) -> list[tuple[str, Parameter]]:
    """Return pairs that are of different names and parameters; refuse others."""
    checked = []
    if not pairs:
        raise ValueError("a space needs at least one parameter, got none; name what to tune")
    for name, parameter in pairs:
        if not isinstance(name, str):
            raise TypeError(f"a parameter's name needs to be a string, got {name!r}; quote it")
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"parameter {name!r} needs to be a Float, Integer, Categorical, Ordinal, Boolean, "
                f"Constant, Transformed or a plain value, got {parameter!r}; e.g. Float(0.0, 1.0)"
            )
        checked.append((name, parameter))
    names = [name for name, _ in checked]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"a space needs different names, got {repeated} twice; rename one")
    if all(isinstance(parameter, Constant) for _, parameter in checked):
        raise ValueError("a space needs a parameter to search, got only fixed ones; name one")
    return checked
