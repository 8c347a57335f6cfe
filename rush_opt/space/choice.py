"""Parameters whose values are listed: choices, ordered values, booleans and fixed values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.space.parameter import Parameter


@dataclass(frozen=True, repr=False)
class Categorical(Parameter):
    """One of several values without an order.

    Parameters
    ----------
    choices : sequence of str, int, float, bool or None
        At least one, no two equal.
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.

    Raises
    ------
    TypeError
        If the choices are a string, or a choice is of another type.
    ValueError
        If there is no choice, if one is NaN, or if two are equal (1, 1.0 and True are equal).
    """

    choices: Sequence[Any]
    _index: dict[Any, int] = field(init=False, repr=False, compare=False)
    ordered = False
    is_number = False

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = _listed("Categorical", self.choices)
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "_index", {choice: i for i, choice in enumerate(choices)})

    @property
    def n_levels(self) -> int:
        """Number of choices."""
        return len(self.choices)

    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""
        return _problem_among(self.choices, value)

    def to_unit(self, column: Sequence[Any]) -> FloatArray:
        """Map values to coordinates."""
        levels = np.fromiter(map(self._index.__getitem__, column), np.float64, len(column))
        return (levels + 0.5) / self.n_levels

    def from_unit(self, u: float) -> Any:
        """Map a coordinate to the choice of its bin."""
        return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]

    def domain(self) -> str:
        """Return the values as text for a table."""
        return ", ".join(map(repr, self.choices))


@dataclass(frozen=True, repr=False)
class Ordinal(Parameter):
    """One of several values in an order, such as ``["low", "middle", "high"]``.

    Neighbouring values count as similar: a model splits the order at one place, and a small
    move leads to the next value.

    Parameters
    ----------
    values : sequence of str, int, float, bool or None
        At least two, in order, no two equal.
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.

    Raises
    ------
    TypeError
        If the values are a string, or one is of another type.
    ValueError
        If there are fewer than two, if one is NaN, or if two are equal (1, 1.0 and True are).
    """

    values: Sequence[Any]
    _index: dict[Any, int] = field(init=False, repr=False, compare=False)
    ordered = True
    is_number = False

    def __post_init__(self) -> None:
        super().__post_init__()
        values = _listed("Ordinal", self.values)
        if len(values) < 2:
            raise ValueError(
                f"Ordinal needs at least two values, got {values!r}; use Constant for a fixed one"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "_index", {value: i for i, value in enumerate(values)})

    @property
    def n_levels(self) -> int:
        """Number of values."""
        return len(self.values)

    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""
        return _problem_among(self.values, value)

    def to_unit(self, column: Sequence[Any]) -> FloatArray:
        """Map values to coordinates."""
        levels = np.fromiter(map(self._index.__getitem__, column), np.float64, len(column))
        return (levels + 0.5) / self.n_levels

    def from_unit(self, u: float) -> Any:
        """Map a coordinate to the value of its bin."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def domain(self) -> str:
        """Return the values as text for a table."""
        return " < ".join(map(repr, self.values))


@dataclass(frozen=True, repr=False)
class Boolean(Parameter):
    """False or True.

    Parameters
    ----------
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.
    """

    n_levels = 2
    ordered = False

    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""
        return None if isinstance(value, bool | np.bool_) else "needs True or False"

    def to_unit(self, column: FloatArray) -> FloatArray:
        """Map values to coordinates."""
        return column * 0.5 + 0.25

    def from_unit(self, u: float) -> bool:
        """Map a coordinate to the value of its bin."""
        return u >= 0.5

    def domain(self) -> str:
        """Return the values as text for a table."""
        return "False, True"


@dataclass(frozen=True, repr=False)
class Constant(Parameter):
    """A fixed value: it is in every configuration and is not searched.

    A plain value in the mapping of a space has the same effect.

    Parameters
    ----------
    value : str, int, float, bool or None
        What the objective receives.
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.

    Raises
    ------
    TypeError
        If the value is of another type.
    ValueError
        If it is NaN.
    """

    value: Any
    n_levels = 1
    ordered = False
    is_number = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value", _listed("Constant", [self.value])[0])

    def problem_with(self, value: object) -> str | None:
        """Return why a value is not this one; None if it is."""
        return _problem_among((self.value,), value)

    def to_unit(self, column: Sequence[Any]) -> FloatArray:
        """Map values to the middle of the only bin."""
        return np.full(len(column), 0.5)

    def from_unit(self, u: float) -> Any:
        """Return the value."""
        return self.value

    def domain(self) -> str:
        """Return the value as text for a table."""
        return repr(self.value)


def _listed(kind: str, values: object) -> tuple[Any, ...]:
    """Return values as a tuple of plain scalars, after checking that no two are equal."""
    # The order of a set differs between processes: runs with the same seed would differ.
    if isinstance(values, str | set | frozenset) or not isinstance(values, Iterable):
        raise TypeError(
            f"{kind} needs a sequence of choices, got {values!r}; pass e.g. ['gbdt', 'dart']"
        )
    listed = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
    if not listed:
        raise ValueError(f"{kind} needs at least one choice, got none; name the values")
    for value in listed:
        if not isinstance(value, str | int | float | bool | None):
            raise TypeError(
                f"{kind} needs str, int, float, bool or None as choices, got {value!r}; "
                "pass a name and look the object up in the objective"
            )
        if value != value:
            raise ValueError(
                f"{kind} needs choices other than NaN, which does not equal itself; use None or a "
                "name"
            )
    if len(set(listed)) < len(listed):
        raise ValueError(
            f"{kind} needs choices that all differ, got {listed!r}; drop the "
            "repeats (1, 1.0 and True are equal; use names to tell them apart)"
        )
    return listed


def _problem_among(choices: Sequence[Any], value: object) -> str | None:
    """Return why a value is none of the choices; None if it is one. True is not 1."""
    for choice in choices:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool | np.bool_):
            return None
    return f"needs one of {list(choices)!r}"
