"""Parameters, and the map between configurations and points of the unit cube.

Every parameter owns one dimension of the cube. Discrete kinds cut it into bins and stand in the
middle of their bin, so equal configurations have equal rows and rows can be compared bit by bit.

=========  =============  ======================================================================
symbol     shape          meaning
=========  =============  ======================================================================
``X``      ``(n, d)``     rows of the unit cube, one per configuration, ``d`` parameters
``u``      scalar         one coordinate, in [0, 1]
levels     scalar         how many values a discrete parameter has; 0 for a continuous one
=========  =============  ======================================================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Config = Mapping[str, Any]

# Beyond this many levels the logarithm of an integer, stored as a double, no longer leads back to
# the same integer (2**40 leaves a factor of about 100).
_MAX_LEVELS = 2**40

# The same bound's logarithm computed twice may differ in the last bits; what is outside the cube by
# more than this is a value out of range.
_ROUNDING = 1e-9


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


class Parameter(ABC):
    """What values a parameter may have, and where in [0, 1] they are."""

    ordered: bool
    """Whether some values are nearer to each other than to the rest."""

    is_number = True
    """Whether values are numbers or booleans, to be read as a column of floats."""

    @property
    @abstractmethod
    def n_levels(self) -> int:
        """How many values there are; 0 if they are not counted."""

    @abstractmethod
    def problem_with(self, value: object) -> str | None:
        """Say what keeps a value from being one of this parameter's, or None."""

    @abstractmethod
    def to_unit(self, column: Any) -> FloatArray:
        """Map values to coordinates: an array of floats or, of other values, a list."""

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """Map a coordinate to a plain Python value."""


@dataclass(frozen=True)
class Float(Parameter):
    """A real number in ``[low, high]``.

    Parameters
    ----------
    low, high : float
        Bounds, both included; ``low < high``.
    log : bool
        Search the logarithm: every factor is as likely as every other. Needs ``low > 0``.

    Raises
    ------
    TypeError
        If a bound is no number.
    ValueError
        If the bounds are not finite, not in order, or not positive although ``log`` is set.
    """

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    n_levels = 0
    ordered = True

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if not _is_number(bound):
                raise TypeError(f"Float needs a number as {name}, got {bound!r}; pass e.g. 0.5")
            object.__setattr__(self, name, float(bound))
        if not math.isfinite(self.high - self.low):
            raise ValueError(
                f"Float needs finite bounds and a finite range, got {self.low} and {self.high}; "
                "choose the range worth searching"
            )
        _check_order(self)
        if self.log and self.low <= 0:
            raise ValueError(
                f"Float with log=True needs low > 0, got {self.low}; raise low or drop log"
            )

    def problem_with(self, value: object) -> str | None:
        """Say what keeps a value from being one of this parameter's, or None."""
        if not _is_number(value):
            return "needs a number"
        if not self.low <= value <= self.high:
            return f"needs {self.low} <= value <= {self.high}"
        return None

    def to_unit(self, column: FloatArray) -> FloatArray:
        """Map values to coordinates."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (np.log(column) - low) / (high - low)
        return (column - self.low) / (self.high - self.low)

    def from_unit(self, u: float) -> float:
        """Map a coordinate to a value: 0 and 1 to the very bounds, the others not outside them."""
        if u <= 0.0:
            return self.low
        if u >= 1.0:
            return self.high
        if self.log:
            value = math.exp(math.log(self.low) * (1.0 - u) + math.log(self.high) * u)
        else:
            value = self.low + u * (self.high - self.low)
        return self.low if value < self.low else self.high if value > self.high else value


@dataclass(frozen=True)
class Integer(Parameter):
    """A whole number in ``low .. high``.

    Its dimension covers ``low - 0.5 .. high + 0.5``, so that every value (with ``log``, every
    factor) is as likely as every other.

    Parameters
    ----------
    low, high : int
        Bounds, both included; ``low < high``, at most 2**40 values.
    log : bool
        Search the logarithm. Needs ``low >= 1``.

    Raises
    ------
    TypeError
        If a bound is no whole number.
    ValueError
        If the bounds are not in order, too large, or below 1 although ``log`` is set.
    """

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    ordered = True

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if not _is_integer(bound):
                raise TypeError(
                    f"Integer needs a whole number as {name}, got {bound!r}; pass e.g. 3, or use "
                    "Float"
                )
            object.__setattr__(self, name, int(bound))
        _check_order(self)
        if self.n_levels > _MAX_LEVELS or max(-self.low, self.high) > 2**53:
            raise ValueError(
                f"Integer needs at most 2**40 values within +-2**53, got {self.low} .. "
                f"{self.high}; search fewer, e.g. an exponent"
            )
        if self.log and self.low < 1:
            raise ValueError(
                f"Integer with log=True needs low >= 1, got {self.low}; raise low or drop log"
            )

    @property
    def n_levels(self) -> int:
        """How many values there are."""
        return self.high - self.low + 1

    def problem_with(self, value: object) -> str | None:
        """Say what keeps a value from being one of this parameter's, or None."""
        if not _is_integer(value):
            return "needs a whole number"
        if not self.low <= value <= self.high:
            return f"needs {self.low} <= value <= {self.high}"
        return None

    def from_unit(self, u: float) -> int:
        """Map a coordinate to the value whose bin it is in."""
        if self.log:
            low, high = self._log_edges()
            value = math.floor(math.exp(low + u * (high - low)) + 0.5)
        else:
            value = self.low + int(u * self.n_levels)
        return self.low if value < self.low else self.high if value > self.high else value

    def nearest(self, column: FloatArray) -> FloatArray:
        """Map coordinates to values, as `from_unit` does, a column at once."""
        if self.log:
            low, high = self._log_edges()
            values = np.floor(np.exp(low + column * (high - low)) + 0.5)
        else:
            values = self.low + np.floor(column * self.n_levels)
        return np.clip(values, self.low, self.high)

    def to_unit(self, column: FloatArray) -> FloatArray:
        """Map values to coordinates."""
        if self.log:
            low, high = self._log_edges()
            return (np.log(column) - low) / (high - low)
        return (column - self.low + 0.5) / self.n_levels

    def _log_edges(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of several values without an order.

    Parameters
    ----------
    choices : sequence of str, int, float, bool or None
        At least one, no two equal. A single choice holds a parameter fixed while the objective
        still receives it by name.

    Raises
    ------
    TypeError
        If the choices are a string or a choice is no such scalar.
    ValueError
        If there is no choice, a NaN among them, or two are equal (1, 1.0 and True are).
    """

    choices: Sequence[Any]
    _index: dict[Any, int] = field(init=False, repr=False, compare=False)
    ordered = False
    is_number = False

    def __post_init__(self) -> None:
        # A set's order differs between processes: runs with one seed would not be the same.
        unfit = isinstance(self.choices, str | set | frozenset)
        if unfit or not isinstance(self.choices, Iterable):
            raise TypeError(
                f"Categorical needs a sequence of choices, got {self.choices!r}; "
                "pass e.g. ['gbdt', 'dart']"
            )
        choices = tuple(c.item() if isinstance(c, np.generic) else c for c in self.choices)
        if not choices:
            raise ValueError("Categorical needs at least one choice, got none; name the values")
        for choice in choices:
            _check_choice(choice)
        index = {choice: i for i, choice in enumerate(choices)}
        if len(index) < len(choices):
            raise ValueError(
                f"Categorical needs choices of which no two are equal, got {choices!r}; drop the "
                "repeats (1, 1.0 and True are equal; use names to tell them apart)"
            )
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "_index", index)

    @property
    def n_levels(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def problem_with(self, value: object) -> str | None:
        """Say what keeps a value from being one of this parameter's, or None."""
        for choice in self.choices:
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return None
        return f"needs one of {list(self.choices)!r}"

    def to_unit(self, column: Sequence[Any]) -> FloatArray:
        """Map values to coordinates."""
        levels = np.fromiter(map(self._index.__getitem__, column), np.float64, len(column))
        return (levels + 0.5) / self.n_levels

    def from_unit(self, u: float) -> Any:
        """Map a coordinate to the choice whose bin it is in."""
        return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]


@dataclass(frozen=True)
class Boolean(Parameter):
    """False or True."""

    n_levels = 2
    ordered = False

    def problem_with(self, value: object) -> str | None:
        """Say what keeps a value from being one of this parameter's, or None."""
        return None if isinstance(value, bool | np.bool_) else "needs True or False"

    def to_unit(self, column: FloatArray) -> FloatArray:
        """Map values to coordinates."""
        return column * 0.5 + 0.25

    def from_unit(self, u: float) -> bool:
        """Map a coordinate to the value whose bin it is in."""
        return u >= 0.5


class Space:
    """Named parameters in a fixed order: what a configuration is made of.

    Parameters
    ----------
    parameters : mapping or sequence of pairs
        Name to parameter. Pairs are taken as well, so that a name given twice can be refused.

    Attributes
    ----------
    names : tuple of str
        Parameter names, in the order of the columns.
    number_names, other_names : list of str
        Those whose values are numbers or booleans, and the rest.
    parameters : tuple of Parameter
        In the same order.
    n_levels : ndarray of int, shape (n_dims,)
        Values of each discrete parameter; 0 for continuous ones.
    is_ordered : ndarray of bool, shape (n_dims,)
        False where no value is nearer to one than to another (booleans and categories).

    Raises
    ------
    TypeError
        If a name is no string or a value no parameter.
    ValueError
        If there is no parameter, or two have one name.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter] | Sequence[tuple[str, Parameter]]
    ) -> None:
        pairs = list(parameters.items() if isinstance(parameters, Mapping) else parameters)
        _check_parameters(pairs)
        self.names: tuple[str, ...] = tuple(name for name, _ in pairs)
        self.parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in pairs)
        self.n_levels = np.array([p.n_levels for p in self.parameters], dtype=np.int64)
        self.is_ordered = np.array([p.ordered for p in self.parameters], dtype=np.bool_)
        numbers = [j for j, parameter in enumerate(self.parameters) if parameter.is_number]
        self._numbers = [(j, self.parameters[j].to_unit) for j in numbers]
        self._others = [j for j in range(self.n_dims) if j not in numbers]
        self.number_names = [self.names[j] for j in numbers]
        self.other_names = [self.names[j] for j in self._others]
        self._decoders: list[Callable[[float], Any]] = [p.from_unit for p in self.parameters]
        # Bins of equal width are handled all columns at once; a logarithmic integer's differ.
        self._log_integers = [
            (j, p) for j, p in enumerate(self.parameters) if isinstance(p, Integer) and p.log
        ]
        equal = self.n_levels > 0
        equal[[j for j, _ in self._log_integers]] = False
        self._bins = np.flatnonzero(equal)
        self._bin_counts = self.n_levels[self._bins].astype(np.float64)
        self._min_steps = np.zeros(self.n_dims)
        self._min_steps[self._bins] = 1.0 / self._bin_counts

    @property
    def n_dims(self) -> int:
        """How many parameters, hence dimensions, there are."""
        return len(self.names)

    def __repr__(self) -> str:
        """Show the mapping the space was built from."""
        return f"Space({dict(zip(self.names, self.parameters, strict=True))!r})"

    def encode(self, configs: Sequence[Config]) -> FloatArray:
        """Turn configurations into rows of the unit cube.

        Ranges are checked; types only as far as the conversion notices (`validate` looks closer).
        Names that the space does not have are passed over.

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
            If a configuration lacks a parameter or has a value that is none of its parameter's.
        """
        n, names = len(configs), self.number_names
        try:
            values = chain.from_iterable([config[name] for name in names] for config in configs)
            numbers = np.fromiter(values, np.float64, n * len(names)).reshape(n, len(names))
            others = [[config[name] for config in configs] for name in self.other_names]
            return self.encode_columns(numbers, others)
        except (KeyError, TypeError, ValueError, OverflowError):
            self._explain(configs)
            raise

    def encode_columns(self, numbers: FloatArray, others: Sequence[Sequence[Any]]) -> FloatArray:
        """Turn columns of values into rows of the unit cube; `encode` for who has columns.

        Parameters
        ----------
        numbers : ndarray of shape (n, len(number_names))
            Values of the parameters in `number_names`; booleans as 0 and 1.
        others : sequence of columns
            Values of the parameters in `other_names`.

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
        for values, j in zip(others, self._others, strict=True):
            try:
                X[:, j] = self.parameters[j].to_unit(values)
            except (KeyError, TypeError):
                self._refuse(j, values)
                raise
        # Written so that a NaN fails too.
        if len(X) and not (X.min() >= -_ROUNDING and X.max() <= 1.0 + _ROUNDING):
            for values, (j, _) in zip(numbers.T, self._numbers, strict=True):
                inside = (X[:, j] >= -_ROUNDING) & (X[:, j] <= 1.0 + _ROUNDING)
                self._refuse(j, values[~inside].tolist())
        return np.clip(X, 0.0, 1.0, out=X)

    def decode(self, X: npt.ArrayLike) -> list[dict[str, Any]]:
        """Turn rows of the unit cube into configurations of plain Python values.

        Parameters
        ----------
        X : array_like of shape (n, n_dims)
            Coordinates in [0, 1].

        Returns
        -------
        list of dict
            Parameter name to float, int, bool, or the choice as it was given.
        """
        return [
            {name: value(u) for name, value, u in zip(self.names, self._decoders, row, strict=True)}
            for row in np.asarray(X, dtype=np.float64).tolist()
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
            A new array: discrete parameters in the middle of their bins, the others as they were.
        """
        snapped = np.clip(np.asarray(X, dtype=np.float64), 0.0, 1.0)
        bins, counts = self._bins, self._bin_counts
        levels = np.minimum(np.floor(snapped[:, bins] * counts), counts - 1.0)
        snapped[:, bins] = (levels + 0.5) / counts
        for j, parameter in self._log_integers:
            snapped[:, j] = parameter.to_unit(parameter.nearest(snapped[:, j]))
        return snapped

    def shift(self, X: FloatArray, steps: FloatArray) -> FloatArray:
        """Move snapped points and snap the result; who moves at all moves at least one level.

        Parameters
        ----------
        X : ndarray of shape (n, n_dims)
            Snapped rows.
        steps : ndarray of shape (n, n_dims)
            Signed distances in the unit cube; 0 leaves a coordinate alone.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            Snapped rows. A coordinate at the border stays there when pushed outwards.
        """
        steps = np.copysign(np.maximum(np.abs(steps), self._min_steps * (steps != 0.0)), steps)
        moved = self.snap(X + steps)
        for j, parameter in self._log_integers:
            before, after = parameter.nearest(X[:, j]), parameter.nearest(moved[:, j])
            one_level = np.clip(before + np.sign(steps[:, j]), parameter.low, parameter.high)
            moved[:, j] = parameter.to_unit(np.where(after == before, one_level, after))
        return moved

    def validate(self, config: Config) -> None:
        """Check one configuration, name by name.

        Parameters
        ----------
        config : mapping
            Parameter name to value.

        Raises
        ------
        ValueError
            If a parameter is missing or unknown, or a value is none of its parameter's; all that
            is wrong is said at once.
        """
        problems = [f"unknown parameter {name!r}" for name in config if name not in self.names]
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if name not in config:
                problems.append(f"parameter {name!r} is missing")
            elif problem := parameter.problem_with(config[name]):
                problems.append(f"parameter {name!r} {problem}, got {config[name]!r}")
        if problems:
            raise ValueError(
                "; ".join(problems) + f"; the space has the parameters {list(self.names)!r}"
            )

    def _refuse(self, j: int, values: Iterable[Any]) -> None:
        """Raise for the first of these that is no value of the j-th parameter."""
        name, parameter = self.names[j], self.parameters[j]
        for value in values:
            plain = int(value) if isinstance(value, float) and value.is_integer() else value
            if problem := parameter.problem_with(plain):
                raise ValueError(f"parameter {name!r} {problem}, got {plain!r}")

    def _explain(self, configs: Sequence[Config]) -> None:
        """Raise the reason why one of these could not be encoded."""
        for config in configs:
            self.validate({name: config[name] for name in self.names if name in config})


def _check_order(parameter: Float | Integer) -> None:
    if parameter.low >= parameter.high:
        raise ValueError(
            f"{type(parameter).__name__} needs low < high, got {parameter.low} >= "
            f"{parameter.high}; swap them, or use Categorical([value]) for a fixed value"
        )


def _check_choice(choice: object) -> None:
    if not isinstance(choice, str | int | float | bool | None):
        raise TypeError(
            f"Categorical needs str, int, float, bool or None as choices, got {choice!r}; "
            "pass a name and look the object up in the objective"
        )
    if choice != choice:
        raise ValueError(
            "Categorical needs choices that equal themselves, got NaN; use None or a name"
        )


def _check_parameters(pairs: Sequence[tuple[object, object]]) -> None:
    if not pairs:
        raise ValueError("a space needs at least one parameter, got none; name what to tune")
    for name, parameter in pairs:
        if not isinstance(name, str):
            raise TypeError(f"a parameter's name needs to be a string, got {name!r}; quote it")
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"parameter {name!r} needs to be a Float, Integer, Categorical or Boolean, "
                f"got {parameter!r}; e.g. Float(0.0, 1.0)"
            )
    names = [name for name, _ in pairs]
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"a space needs different names, got {repeated} twice; rename one")
