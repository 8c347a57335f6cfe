"""What every kind of parameter offers to the space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.space.condition import Condition, When

# Beyond this many levels the logarithm of an integer, stored as a double, no longer leads back to
# the same integer (2**40 leaves a factor of about 100).
MAX_LEVELS = 2**40


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a real number and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_integer(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number and no boolean."""
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True, repr=False)
class Parameter(ABC):
    """What values a parameter may have, and where in [0, 1] they are.

    Parameters
    ----------
    when : mapping or sequence of mappings, optional
        Other parameters' names to the values for which this one is active; see `Condition`. An
        inactive parameter is absent from the configuration.
    """

    when: When = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", Condition.of(self.when))

    @property
    @abstractmethod
    def ordered(self) -> bool:
        """Whether some values are nearer to each other than to the rest."""

    @property
    @abstractmethod
    def n_levels(self) -> int:
        """How many values there are; 0 if they are not counted."""

    @property
    def is_number(self) -> bool:
        """Whether values are numbers or booleans, to be read as a column of floats."""
        return True

    @property
    def equal_bins(self) -> bool:
        """Whether the bins of all levels have one width."""
        return True

    @abstractmethod
    def problem_with(self, value: object) -> str | None:
        """Say what keeps a value from being one of this parameter's, or None."""

    @abstractmethod
    def to_unit(self, column: Any) -> FloatArray:
        """Map values to coordinates: an array of floats or, of other values, a list.

        A value that is none of the parameter's raises, or its coordinate is NaN or outside [0, 1].
        """

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """Map a coordinate to a plain Python value."""

    @abstractmethod
    def domain(self) -> str:
        """Write the values down for a table."""

    def level_of(self, column: FloatArray) -> FloatArray:
        """Map coordinates to levels, counted from 0; for parameters with levels."""
        return np.minimum(np.floor(column * self.n_levels), self.n_levels - 1.0)

    def unit_of_level(self, levels: FloatArray) -> FloatArray:
        """Map levels to the middle of their bins."""
        return (levels + 0.5) / self.n_levels

    def grid(self, resolution: int) -> FloatArray:
        """Spread coordinates evenly, both ends among them.

        Parameters
        ----------
        resolution : int
            How many, ``>= 1``; values without an order are taken all, others at most as many as
            there are.
        """
        if self.n_levels and (self.n_levels <= resolution or not self.ordered):
            return self.unit_of_level(np.arange(self.n_levels, dtype=np.float64))
        even = np.linspace(0.0, 1.0, resolution) if resolution > 1 else np.array([0.5])
        return np.unique(self.unit_of_level(self.level_of(even))) if self.n_levels else even

    def settings(self) -> dict[str, Any]:
        """Return what differs from the kind's defaults, the condition last."""
        return {
            part.name: getattr(self, part.name)
            for part in sorted(fields(self), key=lambda part: part.name == "when")
            if part.init and getattr(self, part.name) != part.default
        }

    def __repr__(self) -> str:
        """Show what the parameter can be written as."""
        named = {part.name for part in fields(self) if part.kw_only}
        parts = [
            f"{name}={value!r}" if name in named else repr(value)
            for name, value in self.settings().items()
        ]
        return f"{type(self).__name__}({', '.join(parts)})"
