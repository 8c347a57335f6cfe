"""Objectives of a module that workers import by name, as a user's own would be."""

import math
import time
from typing import Any

from rush_opt import Trial

N_STEPS = 9  # of the objectives that report


def identity(config: dict[str, Any]) -> float:
    return float(config["x"])


def slow(config: dict[str, Any]) -> float:
    """Take longer than a proposal."""
    time.sleep(0.05)
    return float(config["x"])


def half(config: dict[str, Any]) -> float:
    return float(config["x"] / 2)


def bowl(config: dict[str, Any]) -> float:
    """Be least, and 0, at x = 0.3 and y = 0.7."""
    return float((config["x"] - 0.3) ** 2 + (config["y"] - 0.7) ** 2)


def learning(config: dict[str, Any], trial: Trial) -> float:
    """Report values that fall from 1 + x to x, and return early if the trial should stop."""
    value = math.inf
    for step in range(1, N_STEPS + 1):
        value = config["x"] + 1 / step
        trial.report(value, step)
        if trial.should_stop():
            break
    return value


def rising(config: dict[str, Any], trial: Trial) -> float:
    """Rise to x: the greater, the better."""
    for step in range(1, N_STEPS + 1):
        trial.report(config["x"] - 1 / step, step)
        if trial.should_stop():
            return math.nan  # what a stopped trial returns as its value does not count
    return float(config["x"])
