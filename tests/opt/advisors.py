"""Advisors of one space, and what tests tell them."""

from collections.abc import Callable

from rush_opt import Boolean, Float, Integer
from rush_opt.ask_tell import Advisor, OpenTrial

SPACE = {"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()}

Advise = Callable[..., Advisor]


def ask(advisor: Advisor) -> OpenTrial:
    trial = advisor.ask()
    assert trial is not None
    return trial


def value_of(trial: OpenTrial) -> float:
    return float((trial.params["x"] - 0.3) ** 2 + 0.01 * trial.params["n"])
