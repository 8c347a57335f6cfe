"""Constraints: functions of the user that return whether a configuration is allowed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Config = Mapping[str, Any]
Constraint = Callable[[dict[str, Any]], bool]


def broken(
    constraints: Sequence[Constraint], config: Config, names: Collection[str]
) -> Iterator[Constraint]:
    """Yield the constraints that a configuration breaks."""
    for constraint in constraints:
        try:
            holds = constraint(dict(config))
        except KeyError as error:
            missing = error.args[0] if error.args else None
            if missing in names and missing not in config:
                continue  # it reads an inactive parameter, so it does not apply
            raise ValueError(
                f"constraint {called(constraint)} raised KeyError: {error}; the space has the "
                f"parameters {list(names)}"
            ) from error
        if not isinstance(holds, bool | np.bool_):
            raise TypeError(
                f"a constraint needs to return True or False, got {holds!r} from "
                f"{called(constraint)}"
            )
        if not holds:
            yield constraint


def called(constraint: Constraint) -> str:
    """Return the name of a constraint."""
    return getattr(constraint, "__qualname__", None) or repr(constraint)


def check_constraints(constraints: object) -> None:
    """Check that `constraints` is a sequence of functions."""
    if (
        isinstance(constraints, str)
        or not isinstance(constraints, Sequence)
        or not all(map(callable, constraints))
    ):
        raise TypeError(
            "constraints need to be a sequence of functions, each to be called as "
            f"constraint(config), got {constraints!r:.80}; put a single one into a list"
        )
