"""Active parameters: conditions, compiled for whole arrays of rows.

=========  ==========  =========================================================================
symbol     shape       meaning
=========  ==========  =========================================================================
``X``      ``(n, d)``  snapped rows of the unit cube
codes      ``(k,)``    coordinates of the values of a parent for which a condition holds
=========  ==========  =========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from rush_opt.arrays import BoolArray, FloatArray
from rush_opt.space.choice import Constant
from rush_opt.space.condition import Condition
from rush_opt.space.parameter import Parameter

# The coordinate of every inactive parameter. With one number for all, rows that differ only in
# inactive parameters are equal. The number is outside the cube, so that one split of a tree can
# separate inactive from active rows. The number is near the cube, so that few random thresholds of
# trees are outside: one in five thresholds between it and 1, but one in two if it were -1. It is
# exact in single precision.
INACTIVE = -0.25

# Up to this number of codes, comparing with each is much faster than `numpy.isin`.
_MAX_COMPARED = 8

# A compiled condition: a list of alternatives. An alternative is a list of terms. A term is the
# column of a parent and its codes.
_Rule = list[list[tuple[int, FloatArray]]]


class ActiveParameters:
    """The conditions of a space: they decide which parameters are active in a row.

    Parameters
    ----------
    names : sequence of str
        Names of all parameters.
    parameters : sequence of Parameter
        In the same order.

    Attributes
    ----------
    order : list of str
        All names, parents before children.

    Raises
    ------
    ValueError
        If a condition is on an unknown, fixed or continuous parameter, or on a value that its
        parent cannot have, or if conditions form a circle.
    """

    def __init__(self, names: Sequence[str], parameters: Sequence[Parameter]) -> None:
        self._names = tuple(names)
        self._searched = {
            name: parameter
            for name, parameter in zip(names, parameters, strict=True)
            if not isinstance(parameter, Constant)
        }
        self._columns = {name: j for j, name in enumerate(self._searched)}
        conditions = {
            name: condition
            for name, parameter in zip(names, parameters, strict=True)
            if (condition := Condition.of(parameter.when)) is not None
        }
        self.order = _parents_first(names, conditions)
        rules = {name: self._compile(name, conditions[name]) for name in conditions}
        # Parents come before children: the coordinate of an inactive parent is set before the
        # condition of its child is evaluated.
        self._rules = [
            (self._columns[name], rules[name])
            for name in self.order
            if name in rules and name in self._columns
        ]
        self._constant_rules = [
            (i, rules[name])
            for i, name in enumerate(names)
            if name in rules and name not in self._columns
        ]

    def _compile(self, child: str, condition: Condition) -> _Rule:
        return [
            [self._compile_term(child, name, values) for name, values in terms]
            for terms in condition.alternatives
        ]

    def _compile_term(
        self, child: str, parent: str, values: Sequence[Any]
    ) -> tuple[int, FloatArray]:
        """Return the column and the codes of a parent; raise if no condition can be on them."""
        if parent not in self._columns:
            names = list(self._names)
            found = "which is fixed" if parent in names else f"not one of {names!r}"
            raise ValueError(
                f"parameter {child!r} needs a condition on a parameter that is searched, got "
                f"{parent!r}, {found}"
            )
        parameter = self._searched[parent]
        if not parameter.n_levels:
            raise ValueError(
                f"parameter {child!r} needs a condition on a parameter with countable values, got "
                f"{parent!r}, a {type(parameter).__name__}; give it a step, or add a Boolean"
            )
        for value in values:
            if problem := parameter.problem_with(value):
                raise ValueError(
                    f"parameter {child!r} has a condition on {parent!r}, which {problem}, got "
                    f"{value!r}"
                )
        numbers = np.array(values, np.float64) if parameter.is_number else values
        return self._columns[parent], parameter.to_unit(numbers)

    @property
    def has_conditions(self) -> bool:
        """Whether a searched parameter has a condition."""
        return bool(self._rules)

    @property
    def parent_columns(self) -> list[int]:
        """Columns of the parameters that conditions of searched parameters are on."""
        return sorted({j for _, rule in self._rules for terms in rule for j, _ in terms})

    @property
    def columns_in_order(self) -> list[int]:
        """All columns, parents before children."""
        return [self._columns[name] for name in self.order if name in self._columns]

    def impute(self, X: FloatArray) -> BoolArray:
        """Set inactive coordinates of snapped rows, in place; return which are active."""
        active = np.ones(X.shape, dtype=np.bool_)
        for j, rule in self._rules:
            active[:, j] = holds = _holds(rule, X)
            X[~holds, j] = INACTIVE
        return active

    def active(self, X: FloatArray, j: int) -> BoolArray:
        """Return for which rows a column is active; the columns of its parents must be set."""
        rule = dict(self._rules).get(j)
        return np.ones(len(X), dtype=np.bool_) if rule is None else _holds(rule, X)

    def fixed(self, X: FloatArray) -> Iterator[tuple[int, BoolArray]]:
        """Yield index and active rows of each fixed parameter with a condition."""
        for i, rule in self._constant_rules:
            yield i, _holds(rule, X)


def _holds(rule: _Rule, X: FloatArray) -> BoolArray:
    """Return for which snapped rows a compiled condition holds."""
    found = np.zeros(len(X), dtype=np.bool_)
    for terms in rule:
        every = np.ones(len(X), dtype=np.bool_)
        for j, codes in terms:
            every &= _is_among(X[:, j], codes)
        found |= every
    return found


def _is_among(column: FloatArray, codes: FloatArray) -> BoolArray:
    """Return where a column equals one of the codes."""
    if len(codes) > _MAX_COMPARED:
        return np.isin(column, codes)
    found: BoolArray = column == codes[0]
    for code in codes[1:]:
        found |= column == code
    return found


def _parents_first(names: Sequence[str], conditions: Mapping[str, Condition]) -> list[str]:
    """Return the names, parents before children; raise if conditions form a circle."""
    graph = {name: conditions[name].parents if name in conditions else [] for name in names}
    try:
        return [name for name in TopologicalSorter(graph).static_order() if name in graph]
    except CycleError as error:
        raise ValueError(
            "conditions need to lead from parents to children, got the circle "
            f"{' -> '.join(map(repr, error.args[1]))}; drop one of them"
        ) from None
