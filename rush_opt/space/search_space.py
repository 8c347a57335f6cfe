"""The space: parameters by name, and their place in the unit cube.

Every parameter that is not fixed has one dimension of the cube. A discrete parameter divides its
dimension into bins, one for each value, and a value is at the middle of its bin. So equal
configurations have equal rows, and rows can be compared bit by bit.

============  ==========  ======================================================================
symbol        shape       meaning
============  ==========  ======================================================================
``X``         ``(n, d)``  rows of the unit cube, one per configuration; ``d`` searched parameters
levels        scalar      number of values of a discrete parameter; 0 for a continuous one
============  ==========  ======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import BoolArray, FloatArray
from rush_opt.space.active import INACTIVE, ActiveParameters
from rush_opt.space.bins import Bins
from rush_opt.space.choice import Categorical, Constant
from rush_opt.space.codec import Codec
from rush_opt.space.constraint import Config, Constraint, broken, called, check_constraints
from rush_opt.space.json import dump_parameters, load_parameters
from rush_opt.space.parameter import Parameter
from rush_opt.space.table import table
from rush_opt.space.validation import Validator, check_name

__all__ = ["MOST_DRAWS", "Space"]

# Of this many random configurations, at least one must satisfy the constraints.
MOST_DRAWS = 10_000


class Space:
    """Named parameters in a fixed order; a configuration has a value for each active one.

    Parameters
    ----------
    parameters : mapping or sequence of pairs
        Name to parameter, or to a plain value, which is fixed. A sequence of pairs with a repeated
        name is refused.
    constraints : sequence of callables
        Each takes a configuration and returns whether it is allowed. Constraints that read an
        inactive parameter are skipped: the configuration does not have it.

    Attributes
    ----------
    names : tuple of str
        Names of all parameters, in the given order.
    parameters : tuple of Parameter
        In the same order.
    constraints : tuple of callables
    columns : tuple of str
        Names of the searched parameters, all except fixed ones, in the order of the columns.
    number_names, other_names : list of str
        Searched parameters without a condition whose values are numbers or booleans, and the other
        searched parameters.
    n_levels : ndarray of int, shape (n_dims,)
        Number of values of each discrete parameter; 0 for a continuous one.
    is_ordered : ndarray of bool, shape (n_dims,)
        False for booleans and categories, whose values have no order.
    is_choice : ndarray of bool, shape (n_dims,)
        True for a parameter on which the effect of the others may depend: if its values have no
        order, or if a condition of a searched parameter is on it.

    Raises
    ------
    TypeError
        If a name is not a string, a value not a parameter, or a constraint cannot be called.
    ValueError
        If there is no parameter to search, or two have the same name; if a condition is on an
        unknown, fixed or continuous parameter, or on a value that its parent cannot have; if
        conditions form a circle; if none of 10,000 random configurations satisfies the
        constraints.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any] | Sequence[tuple[str, Any]],
        *,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        pairs = _named_parameters(parameters)
        check_constraints(constraints)
        self.names: tuple[str, ...] = tuple(name for name, _ in pairs)
        self.parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in pairs)
        self.constraints: tuple[Constraint, ...] = tuple(constraints)
        searched = {name: p for name, p in pairs if not isinstance(p, Constant)}
        self.columns: tuple[str, ...] = tuple(searched)
        self._searched = list(searched.values())
        self.n_levels = np.array([p.n_levels for p in self._searched], dtype=np.int64)
        self.is_ordered = np.array([p.ordered for p in self._searched], dtype=np.bool_)
        self._bins = Bins(self._searched)
        self._active = ActiveParameters(self.names, self.parameters)
        self._conditional = self._active.has_conditions
        self._validator = Validator(self.names, self.parameters, self._active.order)
        self._codec = Codec(self.names, self.parameters, self._active, self._validator)
        self.number_names, self.other_names = self._codec.number_names, self._codec.other_names
        self.is_choice = ~self.is_ordered
        self.is_choice[self._active.parent_columns] = True
        if self.constraints:
            self._check_possible()

    def _check_possible(self) -> None:
        rng = np.random.default_rng(0)
        for n in (100, 900, MOST_DRAWS - 1_000):
            if self.allowed(self.snap(rng.random((n, self.n_dims)))).any():
                return
        raise ValueError(
            f"the constraints must allow some configuration, but none of {MOST_DRAWS:,} random "
            "configurations satisfies them all; loosen them, or choose parameters that cannot "
            "break them, e.g. a width instead of a second bound"
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Space:
        """Build the space that `to_json` wrote.

        Parameters
        ----------
        text : str or bytes
            JSON.

        Raises
        ------
        ValueError
            If the text does not describe a space.
        """
        return cls(load_parameters(text))

    def to_json(self, *, indent: int | None = None) -> str:
        """Write the space as JSON, for `from_json` or a reader in another language.

        Parameters
        ----------
        indent : int, optional
            As for `json.dumps`.

        Raises
        ------
        ValueError
            If there are constraints or transforms: JSON cannot hold code.
        """
        if self.constraints:
            raise ValueError(
                "a space with constraints cannot be written as JSON, which holds no code; write "
                "Space(...) without them and keep them in a module, or pickle the space"
            )
        pairs = zip(self.names, self.parameters, strict=True)
        return dump_parameters(pairs, indent=indent)

    @property
    def n_dims(self) -> int:
        """Number of searched parameters, which is the number of dimensions."""
        return len(self.columns)

    @property
    def has_conditions(self) -> bool:
        """Whether a searched parameter has a condition."""
        return self._conditional

    def __repr__(self) -> str:
        """Return the call that builds the space."""
        constraints = f", constraints={list(self.constraints)!r}" if self.constraints else ""
        return f"Space({dict(zip(self.names, self.parameters, strict=True))!r}{constraints})"

    def __str__(self) -> str:
        """Return a table with a line per parameter."""
        return table(self.names, self.parameters, self.constraints)

    def __eq__(self, other: object) -> bool:
        """Return whether names, parameters, their order and the constraint objects are the same."""
        if not isinstance(other, Space):
            return NotImplemented
        return (self.names, self.parameters, self.constraints) == (
            other.names,
            other.parameters,
            other.constraints,
        )

    def __hash__(self) -> int:
        # Equal spaces have equal names. Constraints and transforms need not have a hash.
        return hash(self.names)

    def encode(self, configs: Sequence[Config]) -> FloatArray:
        """Turn configurations into rows of the unit cube.

        Ranges are checked. A wrong type is found only if the conversion fails; `validate` checks
        types. Unknown names and the values of fixed and inactive parameters are ignored.

        Parameters
        ----------
        configs : sequence of mappings
            Parameter name to value.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)

        Raises
        ------
        ValueError
            If an active parameter is missing, or its value is out of range.
        """
        n, names = len(configs), self.number_names
        try:
            values = chain.from_iterable([config[name] for name in names] for config in configs)
            numbers = np.fromiter(values, np.float64, n * len(names)).reshape(n, len(names))
        except (KeyError, TypeError, ValueError, OverflowError):
            self._validator.explain(configs)
            raise
        return self.encode_columns(numbers, configs)

    def encode_columns(self, numbers: FloatArray, configs: Sequence[Config]) -> FloatArray:
        """Turn columns of values into rows of the unit cube; faster than `encode`.

        Parameters
        ----------
        numbers : ndarray of shape (n, len(number_names))
            Values of the parameters in `number_names`; booleans as 0 and 1.
        configs : sequence of n mappings
            Contain the values of the parameters in `other_names`; not read if there are none.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)

        Raises
        ------
        ValueError
            If a value is out of range.
        """
        return self._codec.encode(numbers, configs)

    def decode(self, X: npt.ArrayLike) -> list[dict[str, Any]]:
        """Turn rows of the unit cube into configurations of plain Python values.

        Parameters
        ----------
        X : array_like of shape (n, n_dims)
            Coordinates in [0, 1], or `INACTIVE`.

        Returns
        -------
        list of dict
            Parameter name to float, int, bool, or the choice as it was given. Inactive parameters
            are left out.
        """
        rows = np.asarray(X, dtype=np.float64)
        return self._codec.decode(self.snap(rows) if self._conditional else rows)

    def snap(self, X: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Move points to the rows of their configurations: decode and encode them.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Any numbers. A point outside the cube is moved to its surface.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            A new array: discrete parameters in the middle of their bins, inactive ones at
            `INACTIVE`, the others as they were.
        """
        snapped = self._bins.snap(X)
        if self._conditional:
            self._active.impute(snapped)
        return snapped

    @property
    def parents_first(self) -> list[int]:
        """All columns, parents before children."""
        return self._active.columns_in_order

    def active(self, X: FloatArray, j: int) -> BoolArray:
        """Return for which rows the j-th column is active.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Rows that are snapped in the columns of the parents.
        j : int
            A column.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        return self._active.active(X, j)

    def grid(self, j: int, resolution: int) -> FloatArray:
        """Return evenly spaced coordinates of the j-th column; see `Parameter.grid`."""
        return self._searched[j].grid(resolution)

    def fill_inactive(self, X: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw a uniform value for every inactive coordinate, as a start if it becomes active.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows.
        rng : numpy.random.Generator
            Source of randomness; not used in a space without conditions.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            The rows themselves if there are no conditions.
        """
        return np.where(X == INACTIVE, rng.random(X.shape), X) if self._conditional else X

    def shift(self, X: FloatArray, steps: FloatArray) -> FloatArray:
        """Move snapped points and snap the result; a discrete value moves by at least one level.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows; inactive coordinates may be filled (`fill_inactive`).
        steps : ndarray of shape (n, n_dims)
            Signed distances in the unit cube; 0 does not move a coordinate.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            Snapped rows. A coordinate at the surface does not move outwards.
        """
        moved = self._bins.shift(X, steps)
        if self._conditional:
            self._active.impute(moved)
        return moved

    def satisfies(self, config: Config) -> bool:
        """Return whether a configuration of this space satisfies all constraints.

        Parameters
        ----------
        config : mapping
            Parameter name to value.

        Raises
        ------
        TypeError
            If a constraint returns anything but True or False.
        """
        return next(broken(self.constraints, config, self.names), None) is None

    def allowed(self, X: FloatArray) -> BoolArray:
        """Return which rows satisfy all constraints.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows.

        Returns
        -------
        ndarray of bool, shape (n,)

        Notes
        -----
        Rows are decoded only if there are constraints.
        """
        if not self.constraints:
            return np.ones(len(X), dtype=np.bool_)
        return np.array([self.satisfies(config) for config in self.decode(X)], dtype=np.bool_)

    def validate(self, config: Config) -> None:
        """Check one configuration, name by name.

        Parameters
        ----------
        config : mapping
            Parameter name to value.

        Raises
        ------
        ValueError
            If a parameter is missing, unknown, or given although it is inactive; if a value does
            not belong to its parameter; if a constraint is broken. The message lists all problems.
        """
        problems = self._validator.problems(config)
        if not problems:
            broken_ones = broken(self.constraints, config, self.names)
            problems = [f"constraint {called(constraint)} is broken" for constraint in broken_ones]
        self._validator.refuse(problems)

    def active_part(self, config: Config) -> dict[str, Any]:
        """Return the active parameters of a configuration, parents first."""
        return self._validator.active_part(config)


def _named_parameters(
    given: Mapping[str, Any] | Sequence[tuple[str, Any]],
) -> list[tuple[str, Parameter]]:
    """Return names and parameters; a list becomes a `Categorical`, a plain value a `Constant`."""
    pairs: list[tuple[Any, Any]] = list(given.items() if isinstance(given, Mapping) else given)
    if not pairs:
        raise ValueError("a space needs at least one parameter, got none; name what to tune")
    checked = []
    for name, value in pairs:
        is_plain = isinstance(value, str | int | float | bool | None | np.generic)
        parameter: Any = Constant(value) if is_plain else value
        if isinstance(value, list):  # a tuple may be meant as a range, so it is refused
            parameter = Categorical(value)
        if not isinstance(name, str):
            raise TypeError(f"a parameter's name needs to be a string, got {name!r}; quote it")
        check_name(name)
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"parameter {name!r} needs to be a Float, Integer, Categorical, Ordinal, Boolean, "
                f"Constant, Transformed, a list of choices or a plain value, got {parameter!r}; "
                "e.g. Float(0.0, 1.0)"
            )
        checked.append((name, parameter))
    names = [name for name, _ in checked]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"a space needs different names, got {repeated} twice; rename one")
    if all(isinstance(parameter, Constant) for _, parameter in checked):
        raise ValueError("a space needs a parameter to search, got only fixed ones; name one")
    return checked
