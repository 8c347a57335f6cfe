"""Optuna's distributions as a space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rush_opt.space.choice import Categorical, Constant
from rush_opt.space.numeric import Float, Integer
from rush_opt.space.parameter import Parameter
from rush_opt.space.search_space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["from_optuna"]


def from_optuna(distributions: Mapping[str, BaseDistribution | Any]) -> Space:
    """Build a space from Optuna's distributions, as in `optuna.Trial.distributions`.

    Parameters
    ----------
    distributions : mapping of str to optuna.distributions.BaseDistribution, Parameter or value
        Name to distribution, or to anything that `Space` takes. A distribution with a single value
        becomes a fixed parameter.

    Raises
    ------
    TypeError
        If one is a distribution of another kind, or neither a distribution nor a parameter.
    ValueError
        If a range or choices are not allowed here.
    """
    return Space({name: _of_distribution(name, d) for name, d in distributions.items()})


def _of_distribution(name: str, distribution: Any) -> Any:
    """Return a distribution as a parameter, and anything else unchanged."""
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(distribution, BaseDistribution):
        return distribution
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(distribution.choices)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(
            f"parameter {name!r} needs to be a categorical distribution or one of floats or "
            f"integers, got {distribution!r}"
        )
    if distribution.single():
        return Constant(distribution.low)
    kind: type[Parameter] = Integer if isinstance(distribution, IntDistribution) else Float
    settings = {name: getattr(distribution, name) for name in ("low", "high", "log", "step")}
    return kind(**settings)
