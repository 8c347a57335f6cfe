"""Test functions with known optima, each with its space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rush_opt.space import Boolean, Categorical, Config, Float, Integer, Space


@dataclass(frozen=True)
class Problem:
    """A function to minimize, its least value, and what an evaluation adds to it."""

    name: str
    space: Space
    function: Callable[[Config], float]
    optimum: float
    noise_sd: float = 0.0
    round_to: float = 0.0

    def observe(self, config: Config, rng: np.random.Generator) -> float:
        """Evaluate with noise and rounding, as an optimizer sees it."""
        value = self.function(config) + self.noise_sd * rng.standard_normal()
        return round(value / self.round_to) * self.round_to if self.round_to else value


def _vector(config: Config) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(list(config.values()), dtype=np.float64)


def _floats(n: int, low: float, high: float) -> Space:
    return Space({f"x{i}": Float(low, high) for i in range(n)})


def branin(config: Config) -> float:
    x, y = config["x"], config["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


# Constants of the function as given by Dixon & Szego, Towards Global Optimisation 2, 1978.
_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(config: Config) -> float:
    x = _vector(config)
    return float(-(_ALPHA * np.exp(-(_A * (x - _P) ** 2).sum(axis=1))).sum())


def ackley(config: Config) -> float:
    x = _vector(config)
    far = -20 * math.exp(-0.2 * math.sqrt(float((x**2).mean())))
    return far - math.exp(float(np.cos(2 * math.pi * x).mean())) + 20 + math.e


def rosenbrock(config: Config) -> float:
    x = _vector(config)
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def mixed(config: Config) -> float:
    """Interactions between kinds: the best learning rate and depth depend on the booster."""
    shift = {"a": 0.0, "b": 0.3, "c": -0.4, "d": 0.8}[config["booster"]]
    rate = math.log10(config["rate"]) + 2.0 + shift
    depth = math.log2(config["leaves"] / 48)
    share = config["share"] - 0.7
    penalty = {"a": 0.0, "b": 0.05, "c": 0.1, "d": 0.3}[config["booster"]]
    value = rate**2 + 0.3 * depth**2 + 2 * share**2 + 0.4 * (rate - 0.5 * depth) ** 2 + penalty
    value += 0.02 * abs(config["bins"] - 6) + (0.0 if config["extra"] else 0.15 + 0.2 * share**2)
    return float(value)


def plateau(config: Config) -> float:
    """Behave as a classification error: hardly any change over half of the space."""
    x = (_vector(config) - 0.35) / 0.65
    distance = float((np.array([4, 3, 2, 1, 0.5, 0.2, 0.1, 0.0]) * x**2).sum())
    return 0.18 + 0.12 * distance / (1.0 + distance)


PROBLEMS = (
    Problem("branin", Space({"x": Float(-5, 10), "y": Float(0, 15)}), branin, 0.39788736),
    Problem("hartmann6", _floats(6, 0, 1), hartmann6, -3.32236801),
    Problem("ackley8", _floats(8, -10, 22), ackley, 0.0),
    Problem("rosenbrock8", _floats(8, -2, 3), rosenbrock, 0.0),
    Problem(
        "mixed7",
        Space(
            {
                "rate": Float(1e-4, 1, log=True),
                "share": Float(0.1, 1.0),
                "leaves": Integer(2, 512, log=True),
                "bins": Integer(1, 20),
                "booster": Categorical(["a", "b", "c", "d"]),
                "extra": Boolean(),
                "idle": Float(0, 1),
            }
        ),
        mixed,
        0.0,
    ),
    Problem("plateau8", _floats(8, 0, 1), plateau, 0.18, noise_sd=0.004, round_to=0.001),
)
