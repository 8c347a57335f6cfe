"""Search spaces in the form of scikit-learn's searches: SciPy distributions and lists of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rush_opt.arguments.space import foreign_space
from rush_opt.space.choice import Categorical, Ordinal
from rush_opt.space.numeric import Float, Integer
from rush_opt.space.parameter import Parameter, is_number
from rush_opt.space.search_space import Space
from rush_opt.space.transformed import Transformed

__all__ = ["from_distributions", "read_space"]

# A distribution without a lower bound is searched from this quantile. Without an upper bound, it is
# searched up to the quantile of 1 minus this.
_TAIL = 1e-3


def read_space(given: Mapping[str, Any] | Space) -> tuple[Space, dict[str, list[Any]]]:
    """Build a space from an argument of `RushSearchCV`; returns as `from_distributions`."""
    if isinstance(given, Space):
        return given, {}
    foreign = foreign_space(given)
    return from_distributions(given) if foreign is None else (foreign, {})


def from_distributions(given: Mapping[str, Any]) -> tuple[Space, dict[str, list[Any]]]:
    """Build a space from parameters, SciPy distributions, lists of values and fixed values.

    A list of numbers in ascending order becomes an `Ordinal`, another list a `Categorical`. Records
    cannot hold objects or tuples: if a list has such values, configurations hold their indices.

    Parameters
    ----------
    given : mapping
        Parameter name to `Parameter`, frozen distribution of `scipy.stats`, sequence or scalar.

    Returns
    -------
    space : Space
    values : dict of str to list
        Parameter name to list of values, for parameters whose configurations hold indices.

    Raises
    ------
    TypeError
        If `given` is not a mapping.
    ValueError
        If a distribution has neither bounds nor quantiles, or is discrete and not uniform.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            "the search space must be a mapping of parameter names to parameters, distributions or "
            f"lists of values, got {given!r:.80} ({type(given).__name__}); for a parameter that "
            "only some settings have, write when=, as in Float(low, high, when={'kernel': 'rbf'})"
        )
    parameters: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    for name, value in given.items():
        if hasattr(value, "rvs"):
            parameters[name] = _of_distribution(name, value)
        elif isinstance(value, np.ndarray) or (
            isinstance(value, Sequence) and not isinstance(value, str)
        ):
            choices = list(value)
            parameters[name] = _of_choices(choices)
            if not _are_recordable(choices):
                values[name] = choices
        else:
            parameters[name] = value
    return Space(parameters), values


def _of_distribution(name: str, frozen: Any) -> Parameter:
    kind = getattr(getattr(frozen, "dist", None), "name", type(frozen).__name__)
    if not hasattr(frozen, "support"):
        raise ValueError(
            f"parameter {name!r} needs a distribution with bounds or quantiles, got {frozen!r}; "
            "give Float(low, high) or another parameter"
        )
    low, high = frozen.support()
    if kind == "uniform":
        return Float(low, high)
    if kind in ("loguniform", "reciprocal") and frozen.ppf(0.5) ** 2 <= low * high * (1 + 1e-9):
        return Float(low, high, log=True)  # not shifted by loc=
    if kind == "randint":
        return Integer(int(low), int(high))
    if not hasattr(frozen, "pdf"):
        raise ValueError(
            f"parameter {name!r} needs a continuous or a uniform distribution, got {kind!r}; give "
            "Integer(low, high) or a list of values"
        )
    bounds = [q if np.isinf(end) else t for end, q, t in ((low, _TAIL, 0.0), (high, -_TAIL, 0.0))]
    return Transformed(
        Float(bounds[0], 1.0 + bounds[1]), lambda u: float(frozen.ppf(u)), inverse=frozen.cdf
    )


def _of_choices(choices: list[Any]) -> Parameter:
    if not _are_recordable(choices):
        return Categorical(range(len(choices)))
    plain = [choice.item() if isinstance(choice, np.generic) else choice for choice in choices]
    if len(plain) > 1 and all(map(is_number, plain)) and all(a < b for a, b in pairwise(plain)):
        return Ordinal(plain)
    return Categorical(plain)


def _are_recordable(choices: list[Any]) -> bool:
    """Whether a record can hold these values, and a parameter can tell them apart."""
    scalars = all(isinstance(c, str | int | float | bool | np.generic | None) for c in choices)
    return scalars and all(c == c for c in choices) and len(set(choices)) == len(choices)
