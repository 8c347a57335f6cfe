"""Test problems that differ with every seed: optimum, rotation and interactions are drawn.

None of them is a problem of another experiment, so that what is chosen here is judged elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rush_opt.space import (
    Boolean,
    Categorical,
    Config,
    Float,
    FloatArray,
    Integer,
    Parameter,
    Space,
)

Truth = Callable[[Config], float]


@dataclass(frozen=True)
class Instance:
    """A function to minimize over a space; its least value is 0.

    Attributes
    ----------
    space : Space
    truth : callable
        The function without noise.
    noise_sd : float
        Standard deviation of what an evaluation adds.
    fails : callable
        Whether a configuration cannot be evaluated.
    """

    space: Space
    truth: Truth
    noise_sd: float = 0.0
    fails: Callable[[Config], bool] = lambda config: False

    def observe(self, config: Config, rng: np.random.Generator) -> float:
        """Evaluate with noise, as an optimizer sees it."""
        return self.truth(config) + self.noise_sd * rng.standard_normal()


def _floats(n: int) -> dict[str, Parameter]:
    return {f"x{i}": Float(0, 1) for i in range(n)}


def _point(config: Config) -> FloatArray:
    return np.array(list(config.values()), dtype=np.float64)


def _rotation(n: int, rng: np.random.Generator) -> FloatArray:
    return np.asarray(np.linalg.qr(rng.standard_normal((n, n)))[0])


def _bowl(n: int, rng: np.random.Generator, condition: float) -> Callable[[FloatArray], float]:
    """Draw a rotated, skewed bowl: a function of the way from its bottom, where it is 0."""
    turn, weight = _rotation(n, rng), condition ** (np.arange(n) / (n - 1) - 1.0)

    def value(way: FloatArray) -> float:
        z = turn @ way
        return float((weight * np.where(z > 0, z, 1.6 * z) ** 2).sum())

    return value


def ellipsoid(rng: np.random.Generator) -> Instance:
    """Draw a rotated, skewed bowl in 5 dimensions."""
    bowl, best = _bowl(5, rng, 100.0), rng.uniform(0.1, 0.9, 5)
    return Instance(Space(_floats(5)), lambda config: bowl(_point(config) - best))


def ripples(rng: np.random.Generator) -> Instance:
    """Draw a bowl in 4 dimensions under waves, one coordinate of it warped."""
    bowl, best, warp = _bowl(4, rng, 4.0), rng.uniform(0.2, 0.8, 4), rng.uniform(0.5, 2.0, 4)

    def truth(config: Config) -> float:
        way = _point(config) ** warp - best**warp
        return bowl(way) + float((0.1 * (1 - np.cos(5 * math.pi * way))).sum())

    return Instance(Space(_floats(4)), truth)


def noisy(rng: np.random.Generator) -> Instance:
    """Draw a bowl in 6 dimensions that noise blurs near its bottom."""
    bowl, best = _bowl(6, rng, 30.0), rng.uniform(0.1, 0.9, 6)
    return Instance(Space(_floats(6)), lambda config: bowl(_point(config) - best), noise_sd=0.02)


def ridge(rng: np.random.Generator) -> Instance:
    """Draw a sharp, saturating valley in 8 dimensions, of which three hardly matter."""
    best, turn = rng.uniform(0.1, 0.9, 8), _rotation(8, rng)
    weight = rng.permutation([3.0, 2.0, 1.5, 1.0, 0.7, 0.05, 0.02, 0.0])

    def truth(config: Config) -> float:
        way = _point(config) - best
        distance = float(np.abs(np.sqrt(weight) * (0.7 * (turn @ way) + 0.3 * way)).sum())
        return distance / (1.0 + distance)

    return Instance(Space(_floats(8)), truth)


def mixed(rng: np.random.Generator) -> Instance:
    """Draw a problem with six numbers, a category of five and a switch, which interact."""
    shifts, costs = rng.uniform(-0.2, 0.2, (5, 6)), np.sort(rng.exponential(0.05, 5))
    costs[0] = 0.0
    order, best, bowl = rng.permutation(5), rng.uniform(0.25, 0.75, 6), _bowl(6, rng, 30.0)
    space = Space(
        {
            "rate": Float(1e-4, 1, log=True),
            "share": Float(0.1, 1),
            "penalty": Float(1e-6, 1e2, log=True),
            "leaves": Integer(2, 512, log=True),
            "depth": Integer(1, 40),
            "momentum": Float(0, 1),
            "kind": Categorical([f"kind {i}" for i in range(5)]),
            "extra": Boolean(),
        }
    )

    def truth(config: Config) -> float:
        kind = order[int(str(config["kind"])[-1])]
        x = space.encode([config])[0, :6]
        extra = float(costs[kind]) + 0.03 * bool(config["extra"])
        return bowl(x - best - shifts[kind]) + extra

    return Instance(space, truth)


def conditional(rng: np.random.Generator) -> Instance:
    """Draw a choice between three methods, each with two to four numbers of its own."""
    counts, offsets = (2, 3, 4), rng.permutation([0.0, 0.02, 0.1])
    bowls = [_bowl(n + 1, rng, 20.0) for n in counts]
    bests = [rng.uniform(0.1, 0.9, n + 1) for n in counts]
    parameters: dict[str, Parameter] = {
        "method": Categorical(["a", "b", "c"]),
        "shared": Float(0, 1),
    }
    for name, n in zip("abc", counts, strict=True):
        parameters |= {f"{name}{i}": Float(0, 1, when={"method": name}) for i in range(n)}

    def truth(config: Config) -> float:
        i = "abc".index(str(config["method"]))
        own = [config["shared"], *(config[f"{'abc'[i]}{j}"] for j in range(counts[i]))]
        return bowls[i](np.array(own, dtype=np.float64) - bests[i]) + float(offsets[i])

    return Instance(Space(parameters), truth)


def steps(rng: np.random.Generator) -> Instance:
    """Draw an error rate over coarse integers and choices, rounded and a little noisy."""
    bowl, best = _bowl(4, rng, 10.0), rng.integers(1, 12, 4)
    gains = np.append(0.0, rng.exponential(0.1, 5))
    space = Space(
        {
            **{f"n{i}": Integer(0, 12) for i in range(4)},
            "a": Categorical(list("uvwxyz")),
            "b": Boolean(),
        }
    )

    def truth(config: Config) -> float:
        way = np.array([config[f"n{i}"] for i in range(4)]) - best
        extra = gains["uvwxyz".index(str(config["a"]))] + (0.02 if config["b"] else 0.0)
        return round(bowl(way / 12) + float(extra), 3)

    return Instance(space, truth, noise_sd=0.002)


def holes(rng: np.random.Generator) -> Instance:
    """Draw a bowl in 5 dimensions a third of which cannot be evaluated."""
    bowl, best, normal = _bowl(5, rng, 10.0), rng.uniform(0.1, 0.9, 5), rng.standard_normal(5)
    if (best - 0.5) @ normal > 0:  # what is best can be evaluated
        normal = -normal
    level = np.quantile(rng.random((4_000, 5)) @ normal, 2 / 3)
    return Instance(
        Space(_floats(5)),
        lambda config: bowl(_point(config) - best),
        fails=lambda config: bool(_point(config) @ normal > level),
    )


PROBLEMS: dict[str, Callable[[np.random.Generator], Instance]] = {
    f.__name__: f for f in (ellipsoid, ripples, noisy, ridge, mixed, conditional, steps)
}
