"""The goal: one objective value and the direction in which it improves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rush_opt.space.validation import check_name

__all__ = ["Direction", "Goal"]

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Goal:
    """One objective: its name in a result, and whether lower or higher values are better.

    Inside the library every loss is minimized. `loss` turns a value into a loss, and `value` turns
    it back.

    Parameters
    ----------
    name : str
        The key of the value in the mapping that an objective returns.
    direction : {"minimize", "maximize"}

    Raises
    ------
    TypeError
        If the name is not a text, or empty.
    ValueError
        If the name cannot be written as UTF-8, or the direction is another one.
    """

    name: str
    direction: Direction = "minimize"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"a goal needs the name of a result, a text, got {self.name!r:.80}")
        check_name(self.name)
        if self.direction not in get_args(Direction):
            raise ValueError(
                f"the direction of a goal must be 'minimize' or 'maximize', got "
                f"{self.direction!r:.80}"
            )

    @property
    def sign(self) -> float:
        """1 if the value is minimized, -1 if it is maximized."""
        return 1.0 if self.direction == "minimize" else -1.0

    def loss(self, value: float) -> float:
        """Turn an objective value into a loss; lower is better."""
        return self.sign * value

    def value(self, loss: float) -> float:
        """Turn a loss back into an objective value."""
        return self.sign * loss
