"""Parameters whose values are numbers on a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.space.parameter import MAX_LEVELS, Parameter, is_integer, is_number

# Largest distance of a value from a whole number of steps, in steps. Decimal fractions are not
# exact as doubles.
_STEP_ROUNDING = 1e-6

# Smallest step, in spacings of doubles. With a smaller one, rounding could lead to another value.
_MIN_SPACINGS = 4


@dataclass(frozen=True, repr=False)
class Float(Parameter):
    """A real number in ``[low, high]``.

    Parameters
    ----------
    low, high : float
        Bounds, both included; ``low < high``.
    log : bool
        Search on a logarithmic scale. Needs ``low > 0``.
    step : float, optional
        The values are ``low``, ``low + step`` and so on up to ``high``, all equally likely. Not
        together with ``log``.
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.

    Raises
    ------
    TypeError
        If a bound or the step is not a number.
    ValueError
        If the bounds are not finite, not in order, or not positive although ``log`` is set; if
        ``high - low`` is not a whole number of steps, or the step is too small for doubles.
    """

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    step: float | None = field(default=None, kw_only=True)
    ordered = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, bound in (("low", self.low), ("high", self.high)):
            if not is_number(bound):
                raise TypeError(f"Float needs a number as {name}, got {bound!r}; pass e.g. 0.5")
            object.__setattr__(self, name, _as_float(name, bound))
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
        if self.step is not None:
            self._check_step(self.step)

    def _check_step(self, step: object) -> None:
        if not is_number(step):
            raise TypeError(f"Float needs a number as step, got {step!r}; pass e.g. 0.1")
        if not 0 < step < math.inf or self.log:
            raise ValueError(
                f"Float needs a step > 0 and cannot combine it with log, got step={step!r} and "
                f"log={self.log!r}; drop one"
            )
        object.__setattr__(self, "step", _as_float("step", step))
        if step < _MIN_SPACINGS * self._spacing:
            raise ValueError(
                f"Float needs a step of at least {_MIN_SPACINGS} times the spacing of doubles at "
                f"its bounds, got {step} where they are {self._spacing:.3g} apart; search the "
                "distance from low instead"
            )
        n_steps = (self.high - self.low) / step
        if n_steps >= MAX_LEVELS:
            raise ValueError(f"Float needs fewer than 2**40 steps, got {n_steps:.3g}; drop step")
        if abs(n_steps - round(n_steps)) > self._step_rounding or round(n_steps) < 1:
            high = _on_grid(self.low, max(1, math.floor(n_steps)), float(step))
            raise ValueError(
                f"Float needs a step that leads from low to high, got {n_steps:.6g} steps of "
                f"{step} from {self.low} to {self.high}; make high {high}"
            )

    @property
    def _spacing(self) -> float:
        """Distance between neighbouring doubles at the bound with the larger magnitude."""
        return math.ulp(max(abs(self.low), abs(self.high)))

    @property
    def _step_rounding(self) -> float:
        """Largest distance of a value from a whole number of steps, in steps."""
        assert self.step is not None
        return max(_STEP_ROUNDING, self._spacing / self.step)

    @property
    def n_levels(self) -> int:
        """Number of values; 0 without a step."""
        return round((self.high - self.low) / self.step) + 1 if self.step else 0

    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""
        if not is_number(value):
            return "needs a number"
        if not self.low <= value <= self.high:
            return f"needs {self.low} <= value <= {self.high}"
        if self.step:
            steps = (value - self.low) / self.step
            if abs(steps - round(steps)) > self._step_rounding:
                return f"needs a whole number of steps of {self.step} from {self.low}"
        return None

    def to_unit(self, column: FloatArray) -> FloatArray:
        """Map values to coordinates."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (np.log(column) - low) / (high - low)
        if self.step:
            steps = (column - self.low) / self.step
            return self.unit_of_level(_whole(steps, self._step_rounding))
        return (column - self.low) / (self.high - self.low)

    def from_unit(self, u: float) -> float:
        """Map a coordinate to a value: 0 and 1 exactly to the bounds, none outside of them."""
        if u <= 0.0:
            return self.low
        if u >= 1.0:
            return self.high
        if self.step:
            level = min(int(u * self.n_levels), self.n_levels - 1)
            return self.high if level == self.n_levels - 1 else _on_grid(self.low, level, self.step)
        if self.log:
            value = math.exp(math.log(self.low) * (1.0 - u) + math.log(self.high) * u)
        else:
            value = self.low + u * (self.high - self.low)
        return self.low if value < self.low else self.high if value > self.high else value

    def domain(self) -> str:
        """Return the values as text for a table."""
        step = f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{', log' if self.log else ''}"


@dataclass(frozen=True, repr=False)
class Integer(Parameter):
    """A whole number in ``low .. high``.

    Its dimension covers ``low - 0.5 .. high + 0.5``, so that all values are equally likely. With
    ``log``, this range is covered on a logarithmic scale.

    Parameters
    ----------
    low, high : int
        Bounds, both included; ``low < high``, at most 2**40 values.
    log : bool
        Search on a logarithmic scale. Needs ``low >= 1``.
    step : int
        The values are ``low``, ``low + step`` and so on up to ``high``. Not together with ``log``.
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.

    Raises
    ------
    TypeError
        If a bound or the step is not a whole number.
    ValueError
        If the bounds are not in order, too large, or below 1 although ``log`` is set; if
        ``high - low`` is not a whole number of steps.
    """

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    step: int = field(default=1, kw_only=True)
    ordered = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, number in (("low", self.low), ("high", self.high), ("step", self.step)):
            if not is_integer(number):
                raise TypeError(
                    f"Integer needs a whole number as {name}, got {number!r}; pass e.g. 3, or use "
                    "Float"
                )
            object.__setattr__(self, name, int(number))
        _check_order(self)
        if self.log and self.low < 1:
            raise ValueError(
                f"Integer with log=True needs low >= 1, got {self.low}; raise low or drop log"
            )
        if self.step < 1 or (self.log and self.step > 1):
            raise ValueError(
                f"Integer needs a step >= 1, and step=1 if log is set, got step={self.step} "
                f"and log={self.log!r}; drop one"
            )
        if (self.high - self.low) % self.step:
            high = max(self.low + self.step, self.high - (self.high - self.low) % self.step)
            raise ValueError(
                f"Integer needs a step that leads from low to high, got steps of {self.step} from "
                f"{self.low} to {self.high}; make high {high}"
            )
        if self.n_levels > MAX_LEVELS or max(-self.low, self.high) > 2**53:
            raise ValueError(
                f"Integer needs at most 2**40 values within +-2**53, got {self.low} .. "
                f"{self.high}; search fewer, e.g. an exponent"
            )

    @property
    def n_levels(self) -> int:
        """Number of values."""
        return (self.high - self.low) // self.step + 1

    @property
    def equal_bins(self) -> bool:
        """Whether the bins of all levels have the same width."""
        return not self.log

    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""
        if not is_integer(value):
            return "needs a whole number"
        if not self.low <= value <= self.high:
            return f"needs {self.low} <= value <= {self.high}"
        if (value - self.low) % self.step:
            return f"needs a whole number of steps of {self.step} from {self.low}"
        return None

    def to_unit(self, column: FloatArray) -> FloatArray:
        """Map values to coordinates."""
        if self.log:
            low, high = self._log_edges()
            return (np.log(column) - low) / (high - low)
        if self.step > 1:
            steps = (column - self.low) / self.step
            return self.unit_of_level(_whole(steps, _STEP_ROUNDING))
        return (column - self.low + 0.5) / self.n_levels

    def from_unit(self, u: float) -> int:
        """Map a coordinate to the value of its bin."""
        if self.log:
            low, high = self._log_edges()
            value = math.floor(math.exp(low + u * (high - low)) + 0.5)
        else:
            value = self.low + self.step * int(u * self.n_levels)
        return self.low if value < self.low else self.high if value > self.high else value

    def level_of(self, column: FloatArray) -> FloatArray:
        """Map coordinates to levels: the values of `from_unit`, counted from the lowest."""
        if not self.log:
            return super().level_of(column)
        low, high = self._log_edges()
        values = np.floor(np.exp(low + column * (high - low)) + 0.5)
        return np.clip(values, self.low, self.high) - self.low

    def unit_of_level(self, levels: FloatArray) -> FloatArray:
        """Map levels to the middle of their bins."""
        return self.to_unit(levels + self.low) if self.log else super().unit_of_level(levels)

    def domain(self) -> str:
        """Return the values as text for a table."""
        step = f", step {self.step}" if self.step > 1 else ""
        return f"{self.low} to {self.high}{step}{', log' if self.log else ''}"

    def _log_edges(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)


def _as_float(name: str, number: float) -> float:
    """Return a number as a float; whole numbers can be too large for that."""
    try:
        return float(number)
    except OverflowError:
        raise ValueError(
            f"Float needs numbers in the range of a float, got {number!r:.40}... as {name}"
        ) from None


def _check_order(parameter: Float | Integer) -> None:
    if parameter.low >= parameter.high:
        raise ValueError(
            f"{type(parameter).__name__} needs low < high, got {parameter.low} >= "
            f"{parameter.high}; swap them, or use Constant(value) for a fixed value"
        )


def _whole(steps: FloatArray, rounding: float) -> FloatArray:
    """Round numbers of steps; a number that is not whole becomes NaN."""
    whole = np.rint(steps)
    return np.where(np.abs(steps - whole) <= rounding, whole, np.nan)


def _on_grid(low: float, level: int, step: float) -> float:
    """Return ``low + level * step`` in decimal arithmetic: 3 steps of 0.1 are exactly 0.3."""
    return float(Decimal(repr(low)) + level * Decimal(repr(step)))
