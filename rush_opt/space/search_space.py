"""The space: parameters by name, and the map between configurations and points of the unit cube.

Every parameter that is not fixed owns one dimension of the cube. Discrete kinds cut it into bins
and stand in the middle of their bin, so equal configurations have equal rows and rows can be
compared bit by bit.

============  ==========  ======================================================================
symbol        shape       meaning
============  ==========  ======================================================================
``X``         ``(n, d)``  rows of the unit cube, one per configuration, ``d`` searched parameters
``u``         scalar      one coordinate, in [0, 1]; `INACTIVE` where its parameter is
levels        scalar      how many values a discrete parameter has; 0 for a continuous one
============  ==========  ======================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import BoolArray, FloatArray
from rush_opt.space.activity import INACTIVE, Activity
from rush_opt.space.admission import as_parameter, check_parameters
from rush_opt.space.bins import Bins
from rush_opt.space.choice import Constant
from rush_opt.space.condition import Condition
from rush_opt.space.constraint import Config, Constraint, broken, called, check_constraints
from rush_opt.space.document import parameter_from_plain, table, to_plain
from rush_opt.space.parameter import Parameter

# The same bound's logarithm computed twice may differ in the last bits; what is outside the cube by
# more than this is a value out of range.
_ROUNDING = 1e-9

# What satisfies the constraints must be more than one in this many.
MOST_DRAWS = 10_000


class Space:
    """Named parameters in a fixed order: what a configuration is made of.

    Parameters
    ----------
    parameters : mapping or sequence of pairs
        Name to parameter, or to a plain value that is fixed. Pairs are taken as well, so that a
        name given twice can be refused.
    constraints : sequence of callables
        Each takes a configuration and tells whether it is allowed. One that reads an inactive
        parameter, which the configuration does not have, does not apply.

    Attributes
    ----------
    names : tuple of str
        Names of all parameters, in the given order.
    parameters : tuple of Parameter
        In the same order.
    constraints : tuple of callables
    columns : tuple of str
        Names of those that are searched, in the order of the columns: all but fixed ones.
    number_names, other_names : list of str
        Searched ones that are in every configuration and whose values are numbers or booleans, and
        the rest of the searched ones.
    n_levels : ndarray of int, shape (n_dims,)
        Values of each discrete parameter; 0 for continuous ones.
    is_ordered : ndarray of bool, shape (n_dims,)
        False where no value is nearer to one than to another (booleans and categories).
    is_choice : ndarray of bool, shape (n_dims,)
        True where a value decides what the other parameters mean: for those that are not ordered,
        and those that a condition of a searched one is on.

    Raises
    ------
    TypeError
        If a name is no string, a value no parameter, or a constraint cannot be called.
    ValueError
        If there is no parameter to search, or two have one name; if a condition is on an unknown or
        fixed parameter, on a value that it cannot have, or leads in a circle; if none of 10,000
        random configurations satisfies the constraints.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any] | Sequence[tuple[str, Any]],
        *,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        given = parameters.items() if isinstance(parameters, Mapping) else parameters
        pairs = check_parameters([(name, as_parameter(value)) for name, value in given])
        check_constraints(constraints)
        self.names: tuple[str, ...] = tuple(name for name, _ in pairs)
        self.parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in pairs)
        self.constraints: tuple[Constraint, ...] = tuple(constraints)
        self._searched = [i for i, p in enumerate(self.parameters) if not isinstance(p, Constant)]
        self.columns: tuple[str, ...] = tuple(self.names[i] for i in self._searched)
        self._compile_columns([self.parameters[i] for i in self._searched])
        self._activity = Activity(self.names, self.parameters)
        self._conditional = self._activity.has_conditions
        self.is_choice = ~self.is_ordered
        self.is_choice[self._activity.parent_columns] = True
        self._is_plain = len(self.columns) == len(self.names) and not self._conditional
        if self.constraints:
            self._check_possible()

    def _compile_columns(self, searched: list[Parameter]) -> None:
        self._kinds = searched
        self.n_levels = np.array([p.n_levels for p in searched], dtype=np.int64)
        self.is_ordered = np.array([p.ordered for p in searched], dtype=np.bool_)
        numbers = [j for j, p in enumerate(searched) if p.is_number and p.when is None]
        self._numbers = [(j, searched[j].to_unit) for j in numbers]
        self._others = [j for j in range(self.n_dims) if j not in numbers]
        self.number_names = [self.columns[j] for j in numbers]
        self.other_names = [self.columns[j] for j in self._others]
        self._decoders: list[Callable[[float], Any]] = [p.from_unit for p in self.parameters]
        self._bins = Bins(searched)

    def _check_possible(self) -> None:
        rng = np.random.default_rng(0)
        for n in (100, 900, MOST_DRAWS - 1_000):
            if self.allowed(self.snap(rng.random((n, self.n_dims)))).any():
                return
        raise ValueError(
            f"the constraints need to allow something, but none of {MOST_DRAWS:,} random "
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
            If it describes no space.
        """
        found = json.loads(text)
        parameters = found.get("parameters") if isinstance(found, dict) else None
        if not isinstance(parameters, dict) or set(found) != {"parameters"}:
            raise ValueError(
                "a space's JSON needs to be an object with an object 'parameters' and nothing "
                f"else, got {text!r:.80}; write it with to_json()"
            )
        return cls({name: parameter_from_plain(name, p) for name, p in parameters.items()})

    def to_json(self, *, indent: int | None = None) -> str:
        """Write the space as JSON, for `from_json` or a reader in another language.

        Parameters
        ----------
        indent : int, optional
            As for `json.dumps`.

        Raises
        ------
        ValueError
            If there are constraints or transforms: they are code, which JSON cannot hold.
        """
        if self.constraints:
            raise ValueError(
                "a space with constraints cannot be written as JSON, which holds no code; write "
                "Space(...) without them and keep them in a module, or pickle the space"
            )
        pairs = zip(self.names, self.parameters, strict=True)
        return json.dumps(
            {"parameters": {name: to_plain(name, p) for name, p in pairs}}, indent=indent
        )

    @property
    def n_dims(self) -> int:
        """How many searched parameters, hence dimensions, there are."""
        return len(self.columns)

    @property
    def has_conditions(self) -> bool:
        """Whether some searched parameter may be inactive."""
        return self._conditional

    def __repr__(self) -> str:
        """Show the mapping the space was built from."""
        constraints = f", constraints={list(self.constraints)!r}" if self.constraints else ""
        return f"Space({dict(zip(self.names, self.parameters, strict=True))!r}{constraints})"

    def __str__(self) -> str:
        """Show a table with a line per parameter."""
        return table(self.names, self.parameters, self.constraints)

    def __eq__(self, other: object) -> bool:
        """Tell whether names, parameters, their order and the very constraints are the same."""
        if not isinstance(other, Space):
            return NotImplemented
        return (self.names, self.parameters, self.constraints) == (
            other.names,
            other.parameters,
            other.constraints,
        )

    def __hash__(self) -> int:
        # Equal spaces have equal names; what is callable in the rest need not have a hash.
        return hash(self.names)

    def encode(self, configs: Sequence[Config]) -> FloatArray:
        """Turn configurations into rows of the unit cube.

        Ranges are checked; types only as far as the conversion notices (`validate` looks closer).
        Names that the space does not have are passed over, and so are the values of fixed and of
        inactive parameters.

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
            If a configuration lacks an active parameter or has a value that is none of its
            parameter's.
        """
        n, names = len(configs), self.number_names
        try:
            values = chain.from_iterable([config[name] for name in names] for config in configs)
            numbers = np.fromiter(values, np.float64, n * len(names)).reshape(n, len(names))
        except (KeyError, TypeError, ValueError, OverflowError):
            self._explain(configs)
            raise
        return self.encode_columns(numbers, configs)

    def encode_columns(self, numbers: FloatArray, configs: Sequence[Config]) -> FloatArray:
        """Turn values into rows of the unit cube; `encode` for who has numbers as columns.

        Parameters
        ----------
        numbers : ndarray of shape (n, len(number_names))
            Values of the parameters in `number_names`; booleans as 0 and 1.
        configs : sequence of n mappings
            Where the values of `other_names` are; not read if there are none.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)

        Raises
        ------
        ValueError
            If a value is none of its parameter's; the message names it.
        """
        X = np.empty((len(numbers), self.n_dims))
        with np.errstate(all="ignore"):  # the logarithm of a value out of range: refused below
            for column, (j, to_unit) in zip(numbers.T, self._numbers, strict=True):
                X[:, j] = to_unit(column)
            try:
                for j in self._others:
                    self._encode_other(X[:, j], j, configs)
            except (KeyError, TypeError, ValueError, OverflowError):
                self._explain(configs)
                raise
        if self._conditional:
            return self._check_active(X, self._activity.impute(X), configs)
        # Written so that a NaN fails too.
        if len(X) and not (X.min() >= -_ROUNDING and X.max() <= 1.0 + _ROUNDING):
            self._explain(configs)
            for values, (j, _) in zip(numbers.T, self._numbers, strict=True):
                inside = (X[:, j] >= -_ROUNDING) & (X[:, j] <= 1.0 + _ROUNDING)
                self._refuse(j, values[~inside].tolist())
        return np.clip(X, 0.0, 1.0, out=X)

    def _encode_other(self, into: FloatArray, j: int, configs: Sequence[Config]) -> None:
        """Encode a column that is not of numbers, or not there in every configuration."""
        name, parameter = self.columns[j], self._kinds[j]
        if parameter.when is None:
            into[:] = parameter.to_unit([config[name] for config in configs])
            return
        present = np.fromiter((name in config for config in configs), np.bool_, len(configs))
        values: Any = [config[name] for config in configs if name in config]
        if parameter.is_number:
            values = np.fromiter(values, np.float64, len(values))
        into[:] = np.nan
        into[present] = parameter.to_unit(values)

    def _check_active(
        self, X: FloatArray, active: BoolArray, configs: Sequence[Config]
    ) -> FloatArray:
        """Clip active coordinates to the cube; refuse those that are outside or missing."""
        if not ((X >= -_ROUNDING) & (X <= 1.0 + _ROUNDING) | ~active).all():
            self._explain(configs)
        np.clip(X, 0.0, 1.0, out=X)
        X[~active] = INACTIVE
        return X

    def decode(self, X: npt.ArrayLike) -> list[dict[str, Any]]:
        """Turn rows of the unit cube into configurations of plain Python values.

        Parameters
        ----------
        X : array_like of shape (n, n_dims)
            Coordinates in [0, 1], or `INACTIVE`.

        Returns
        -------
        list of dict
            Parameter name to float, int, bool, or the choice as it was given; inactive parameters
            are absent.
        """
        rows = np.asarray(X, dtype=np.float64)
        if not self._is_plain:
            return self._decode_active(rows)
        return [
            {name: value(u) for name, value, u in zip(self.names, self._decoders, row, strict=True)}
            for row in rows.tolist()
        ]

    def _decode_active(self, X: FloatArray) -> list[dict[str, Any]]:
        rows = self.snap(X) if self._conditional else X
        full = np.full((len(rows), len(self.names)), 0.5)
        full[:, self._searched] = rows
        for i, active in self._activity.fixed(rows):
            full[~active, i] = INACTIVE
        return [
            {
                name: value(u)
                for name, value, u in zip(self.names, self._decoders, row, strict=True)
                if u != INACTIVE
            }
            for row in full.tolist()
        ]

    def snap(self, X: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Move points to the rows that their decoded configurations encode to.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Any numbers; what is outside the cube is moved to its surface.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            A new array: discrete parameters in the middle of their bins, inactive ones at
            `INACTIVE`, the others as they were.
        """
        snapped = self._bins.snap(X)
        if self._conditional:
            self._activity.impute(snapped)
        return snapped

    @property
    def parents_first(self) -> list[int]:
        """Columns in an order in which conditions only look back."""
        return self._activity.columns_in_order

    def active(self, X: FloatArray, j: int) -> BoolArray:
        """Tell for which rows the j-th column is active.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows, at least in the columns of the parents.
        j : int
            A column.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        return self._activity.active(X, j)

    def grid(self, j: int, resolution: int) -> FloatArray:
        """Return evenly spaced coordinates of the j-th column; see `Parameter.grid`."""
        return self._kinds[j].grid(resolution)

    def fill_inactive(self, X: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Give inactive coordinates a uniform value: where they start from if they become active.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows.
        rng : numpy.random.Generator
            Source of randomness; not touched in a space without conditions.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            The rows themselves if there are no conditions.
        """
        return np.where(X == INACTIVE, rng.random(X.shape), X) if self._conditional else X

    def shift(self, X: FloatArray, steps: FloatArray) -> FloatArray:
        """Move snapped points and snap the result; who moves at all moves at least one level.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows, or such with inactive coordinates filled (`fill_inactive`).
        steps : ndarray of shape (n, n_dims)
            Signed distances in the unit cube; 0 leaves a coordinate alone.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            Snapped rows. A coordinate at the border stays there when pushed outwards.
        """
        moved = self._bins.shift(X, steps)
        if self._conditional:
            self._activity.impute(moved)
        return moved

    def satisfies(self, config: Config) -> bool:
        """Tell whether a configuration of this space satisfies all constraints.

        Parameters
        ----------
        config : mapping
            Parameter name to value.

        Raises
        ------
        TypeError
            If a constraint returns something else than True or False.
        """
        return next(broken(self.constraints, config, self.names), None) is None

    def allowed(self, X: FloatArray) -> BoolArray:
        """Tell which rows satisfy all constraints.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows.

        Returns
        -------
        ndarray of bool, shape (n,)

        Notes
        -----
        Rows are decoded, one by one, only if there are constraints.
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
            If a parameter is missing, unknown, or there although it is inactive, a value is none of
            its parameter's, or a constraint is broken; all that is wrong is said at once.
        """
        problems = [f"unknown parameter {name!r}" for name in config if name not in self.names]
        problems += self._problems(config)
        active = self.active_part(config)
        problems += [
            f"parameter {name!r} is active only when {self._when(name)}, got {config[name]!r}"
            for name in self.names
            if name in config and name not in active
        ]
        if not problems:
            broken_ones = broken(self.constraints, config, self.names)
            problems = [f"constraint {called(constraint)} is broken" for constraint in broken_ones]
        if problems:
            raise ValueError(
                "; ".join(problems) + f"; the space has the parameters {list(self.names)!r}"
            )

    def _when(self, name: str) -> Condition | None:
        return Condition.of(self.parameters[self.names.index(name)].when)

    def active_part(self, config: Config) -> dict[str, Any]:
        """Return the active part of a configuration, parents first."""
        active: dict[str, Any] = {}
        for name in self._activity.order:
            condition = self._when(name)
            if name in config and (condition is None or condition.holds(active)):
                active[name] = config[name]
        return active

    def _problems(self, config: Config) -> list[str]:
        """Say what is wrong with active parameters, in the order of the names."""
        active, problems = self.active_part(config), []
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if name in active:
                if problem := parameter.problem_with(active[name]):
                    problems.append(f"parameter {name!r} {problem}, got {active[name]!r}")
            elif name not in config and (not (when := self._when(name)) or when.holds(active)):
                problems.append(f"parameter {name!r} is missing")
        return problems

    def _refuse(self, j: int, values: Iterable[Any]) -> None:
        """Raise for the first of these that is no value of the j-th searched parameter."""
        name, parameter = self.columns[j], self._kinds[j]
        for value in values:
            plain = int(value) if isinstance(value, float) and value.is_integer() else value
            if problem := parameter.problem_with(plain):
                raise ValueError(f"parameter {name!r} {problem}, got {plain!r}")

    def _explain(self, configs: Sequence[Config]) -> None:
        """Raise the reason why one of these could not be encoded."""
        for config in configs:
            searched = {name: value for name, value in config.items() if name in self.columns}
            fixed = zip(self.names, self.parameters, strict=True)
            searched |= {name: p.value for name, p in fixed if isinstance(p, Constant)}
            if problems := self._problems(searched):
                raise ValueError(
                    "; ".join(problems) + f"; the space has the parameters {list(self.names)!r}"
                )
