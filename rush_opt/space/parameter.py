"""The base of all kinds of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.space.condition import Condition, When

# Most levels. With more, the logarithm of an integer, stored as a double, would not lead back to
# the same integer; 2**40 is below that limit by a factor of about 100.
MAX_LEVELS = 2**40


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number and not a boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number and not a boolean."""
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True, repr=False)
class Parameter(ABC):
    """The values that a parameter may have, and their coordinates in [0, 1].

    Parameters
    ----------
    when : mapping or sequence of mappings, optional
        Names of other parameters to the values for which this one is active; see `Condition`. An
        inactive parameter is not in the configuration.
    """

    when: When = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", Condition.of(self.when))

    @property
    @abstractmethod
    def ordered(self) -> bool:
        """Whether the values have an order."""

    @property
    @abstractmethod
    def n_levels(self) -> int:
        """Number of values; 0 if the parameter is continuous."""

    @property
    def is_number(self) -> bool:
        """Whether values are numbers or booleans, which fit into an array of floats."""
        return True

    @property
    def equal_bins(self) -> bool:
        """Whether the bins of all levels have the same width."""
        return True

    @abstractmethod
    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""

    @abstractmethod
    def to_unit(self, column: Any) -> FloatArray:
        """Map values, an array of floats or a list of other values, to coordinates.

        If a value does not belong to the parameter, an exception is raised or the coordinate is NaN
        or outside [0, 1].
        """

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """Map a coordinate to a plain Python value."""

    @abstractmethod
    def domain(self) -> str:
        """Return the values as text for a table."""

    def level_of(self, column: FloatArray) -> FloatArray:
        """Map coordinates to levels, counted from 0; not for continuous parameters."""
        return np.minimum(np.floor(column * self.n_levels), self.n_levels - 1.0)

    def unit_of_level(self, levels: FloatArray) -> FloatArray:
        """Map levels to the middle of their bins."""
        return (levels + 0.5) / self.n_levels

    def grid(self, resolution: int) -> FloatArray:
        """Return evenly spaced coordinates, both ends included.

        Parameters
        ----------
        resolution : int
            Number of coordinates, ``>= 1``. Fewer if an ordered parameter has fewer values; all
            values if they have no order.
        """
        if self.n_levels and (self.n_levels <= resolution or not self.ordered):
            return self.unit_of_level(np.arange(self.n_levels, dtype=np.float64))
        even = np.linspace(0.0, 1.0, resolution) if resolution > 1 else np.array([0.5])
        return np.unique(self.unit_of_level(self.level_of(even))) if self.n_levels else even

    def settings(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, the condition last."""
        return {
            part.name: getattr(self, part.name)
            for part in sorted(fields(self), key=lambda part: part.name == "when")
            if part.init and getattr(self, part.name) != part.default
        }

    def __repr__(self) -> str:
        """Return the call that makes the parameter."""
        named = {part.name for part in fields(self) if part.kw_only}
        parts = [
            f"{name}={value!r}" if name in named else repr(value)
            for name, value in self.settings().items()
        ]
        return f"{type(self).__name__}({', '.join(parts)})"
