"""The argument `space`: a space, or something to build one from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rush_opt.space import Space
from rush_opt.space.foreign import from_configspace, from_optuna

__all__ = ["foreign_space", "make_space"]


def make_space(space: Any) -> Space:
    """Build a space from a mapping, pairs of names and parameters, or another library's space.

    A `Space` is returned unchanged.
    """
    if isinstance(space, Space):
        return space
    foreign = foreign_space(space)
    if foreign is not None:
        return foreign
    pairs = isinstance(space, Sequence) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in space
    )
    if not isinstance(space, Mapping) and not pairs:
        raise TypeError(
            "space must be a mapping of parameter names to Float, Integer, Categorical or other "
            "parameters, a sequence of such pairs, a ConfigurationSpace, or Optuna's "
            f"distributions by name, got {space!r:.80} ({type(space).__name__})"
        )
    return Space(space)


def foreign_space(space: Any) -> Space | None:
    """Build a space from a ConfigurationSpace or Optuna's distributions; else return None."""
    if _package(space) == "ConfigSpace":
        return from_configspace(space)
    if isinstance(space, Mapping) and "optuna" in map(_package, space.values()):
        return from_optuna(space)
    return None


def _package(value: object) -> str:
    """Return the name of the package of a value's class, without importing the package."""
    return type(value).__module__.partition(".")[0]
