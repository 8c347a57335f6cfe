"""What the methods are compared on: functions that others wrote, and tuning problems of four kinds.

The seed chooses the instance of a function: where its optimum is and how it is rotated. The two
functions of `experiments/surrogate_study` have one instance.

===========  =====================================================================================
kind         from
===========  =====================================================================================
continuous   the BBOB suite of COCO; Nevergrad's artificial functions
mixed        the BBOB mixed-integer suite of COCO; a function of four kinds of parameters
conditional  written here: parameters that only take part for some values of others
noisy        BBOB and Nevergrad with normal noise on what is observed; a noisy, rounded error
===========  =====================================================================================

.. [COCO] N. Hansen et al. COCO: a platform for comparing continuous optimizers in a black-box
   setting. Optimization Methods and Software 36, 2021.
.. [Nevergrad] J. Rapin, O. Teytaud. Nevergrad, a gradient-free optimization platform. 2018.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.surrogate_study.problems import PROBLEMS as STUDIED
from experiments.surrogate_study.problems import Problem
from rush_opt.space import Boolean, Categorical, Config, Float, Integer, Parameter, Space

# The file in which COCO writes a function's optimum when it is asked to print it.
_BEST_PARAMETER = "._bbob_problem_best_parameter.txt"


@dataclass(frozen=True)
class Source:
    """A problem before its instance is chosen.

    Parameters
    ----------
    kind : str
        One of the kinds above.
    make : callable
        ``make(name, seed)`` returns the instance.
    is_new : bool
        Whether it was added when all settings of ADBO had been chosen.
    """

    kind: str
    make: Callable[[str, int], Problem]
    is_new: bool = False


def n_trials(n_dims: int) -> int:
    """Return the budget: 100 trials in up to 6 dimensions, 150 beyond."""
    return 100 if n_dims <= 6 else 150


@cache
def _suite(name: str) -> Any:
    import cocoex

    # Without a list there are five instances, the same as the first five of these.
    return cocoex.Suite(name, "instances: 1-100", "")


def coco(
    name: str, seed: int, *, suite: str, function: int, n_dims: int, noise_sd: float = 0.0
) -> Problem:
    """Take a function of a COCO suite; the seed is its instance, from 1."""
    problem = _suite(suite).get_problem_by_function_dimension_instance(function, n_dims, 1 + seed)
    n_integers = problem.number_of_integer_variables
    parameters: dict[str, Parameter] = {
        f"x{i}": Integer(int(low), int(high)) if i < n_integers else Float(low, high)
        for i, (low, high) in enumerate(
            zip(problem.lower_bounds, problem.upper_bounds, strict=True)
        )
    }

    def value(config: Config) -> float:
        return float(problem(np.array(list(config.values()), dtype=np.float64)))

    optimum = float(problem(_best_parameter(problem)))
    return Problem(name, Space(parameters), value, optimum, noise_sd)


def _best_parameter(problem: Any) -> Any:
    """Read where the optimum is from the file that COCO writes it to."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        problem._best_parameter("print")
        return np.loadtxt(Path(folder) / _BEST_PARAMETER, ndmin=1)


def nevergrad(
    name: str,
    seed: int,
    *,
    function: str,
    n_dims: int,
    n_idle: int = 0,
    rotation: bool = False,
    noise_sd: float = 0.0,
) -> Problem:
    """Take one of Nevergrad's functions; `n_idle` further dimensions change nothing."""
    from nevergrad.functions import ArtificialFunction

    artificial = ArtificialFunction(
        function, block_dimension=n_dims, useless_variables=n_idle, rotation=rotation
    )
    artificial.transform_var.random_state = np.random.RandomState(seed)
    space = Space({f"x{i}": Float(-5.0, 5.0) for i in range(n_dims + n_idle)})

    def value(config: Config) -> float:
        return float(artificial(np.array(list(config.values()), dtype=np.float64)))

    return Problem(name, space, value, 0.0, noise_sd)


def studied(name: str, seed: int, *, called: str) -> Problem:
    """Take a problem of experiments/surrogate_study, which has one instance."""
    return next(problem for problem in STUDIED if problem.name == called)


def learners(name: str, seed: int) -> Problem:
    """Choose among three learners, each with parameters of its own."""
    rng = np.random.default_rng([1, seed])
    best = dict(zip(("cost", "gamma", "features", "rate"), rng.uniform(0.2, 0.8, 4), strict=True))
    only = {learner: {"learner": learner} for learner in ("svm", "forest", "boosting")}
    space = Space(
        {
            "learner": Categorical(["svm", "forest", "boosting"]),
            "scale": Boolean(),
            "cost": Float(1e-3, 1e3, log=True, when=only["svm"]),
            "gamma": Float(1e-4, 10.0, log=True, when=only["svm"]),
            "features": Float(0.1, 1.0, when=only["forest"]),
            "leaf": Integer(1, 64, log=True, when=only["forest"]),
            "rate": Float(1e-3, 1.0, log=True, when=only["boosting"]),
            "leaves": Integer(4, 256, log=True, when=only["boosting"]),
        }
    )
    best_leaves = _at(space, "leaves", int(rng.integers(8, 128)))

    def value(config: Config) -> float:
        at = _coordinates(space, config)
        if config["learner"] == "svm":
            # A ridge: one term loses as much as the other one gains.
            cost, gamma = at["cost"] - best["cost"], at["gamma"] - best["gamma"]
            unscaled = 0.0 if config["scale"] else 0.3
            return float(0.02 + 4 * (cost + gamma) ** 2 + gamma**2 + unscaled)
        if config["learner"] == "forest":
            feature_loss = (at["features"] - best["features"]) ** 2
            return float(0.15 + 0.3 * feature_loss + 0.1 * at["leaf"])
        # Best at its best, and worse than the forest nearly everywhere.
        rate_loss = (at["rate"] - best["rate"]) ** 2
        return float(6 * rate_loss + 2 * abs(at["leaves"] - best_leaves))

    return Problem(name, space, value, 0.0)


def _coordinates(space: Space, config: Config) -> dict[str, float]:
    """Return where a configuration is in the unit cube, by parameter."""
    return dict(zip(space.columns, map(float, space.encode([config])[0]), strict=True))


def _at(space: Space, name: str, value: int) -> float:
    """Return the coordinate of a parameter's value."""
    parameter = space.parameters[space.names.index(name)]
    return float(parameter.to_unit(np.array([value], dtype=np.float64))[0])


def layers(name: str, seed: int) -> Problem:
    """Set up a network: a dropout per layer that there is, momentum for one optimizer."""
    best = np.random.default_rng([2, seed]).uniform(0.2, 0.8, size=8)
    deep = {depth: {"depth": list(range(depth, 5))} for depth in (2, 3, 4)}
    space = Space(
        {
            "depth": Integer(1, 4),
            "optimizer": Categorical(["sgd", "adam"]),
            "rate": Float(1e-5, 1e-1, log=True),
            "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}),
            "dropout1": Float(0.0, 0.8),
            "dropout2": Float(0.0, 0.8, when=deep[2]),
            "dropout3": Float(0.0, 0.8, when=deep[3]),
            "dropout4": Float(0.0, 0.8, when=deep[4]),
        }
    )

    def value(config: Config) -> float:
        at = _coordinates(space, config)
        # One optimizer wants a rate that is a hundred times as high as the other's.
        wanted = best[0] + (0.25 if config["optimizer"] == "sgd" else -0.25)
        error = 3 * (at["rate"] - min(max(wanted, 0.05), 0.95)) ** 2
        if config["optimizer"] == "sgd":
            error += 0.5 * (at["momentum"] - best[1]) ** 2
        else:
            error += 0.02
        for depth in range(1, config["depth"] + 1):
            error += 0.4 * (at[f"dropout{depth}"] - best[1 + depth]) ** 2
        return float(error + 0.05 * abs(config["depth"] - 3))

    return Problem(name, space, value, 0.0)


def pipeline(name: str, seed: int) -> Problem:
    """Set up a chain of steps that can be left out; two of them only help together."""
    rng = np.random.default_rng([3, seed])
    best = dict(zip(("share", "width", "ridge"), rng.uniform(0.2, 0.8, 3), strict=True))
    space = Space(
        {
            "select": Boolean(),
            "reduce": Categorical(["none", "pca", "kernel"]),
            "share": Float(0.05, 1.0, when={"select": True}),
            "components": Integer(2, 100, log=True, when={"reduce": ["pca", "kernel"]}),
            "width": Float(1e-3, 1e2, log=True, when={"reduce": "kernel"}),
            "ridge": Float(1e-6, 1e2, log=True),
            "degree": Integer(1, 3),
        }
    )
    best_components = _at(space, "components", int(rng.integers(5, 60)))

    def value(config: Config) -> float:
        at = _coordinates(space, config)
        error = 0.3 + (at["ridge"] - best["ridge"]) ** 2 + 0.05 * abs(config["degree"] - 2)
        if config["select"]:
            error += 0.05 + 0.5 * (at["share"] - best["share"]) ** 2
        if config["reduce"] != "none":
            error += 0.1 + 0.5 * abs(at["components"] - best_components)
        if config["reduce"] == "kernel":
            error += 2 * (at["width"] - best["width"]) ** 2
            error -= 0.45 if config["select"] else 0.0
        return float(error)

    return Problem(name, space, value, 0.0)


PROBLEMS: dict[str, Source] = {
    "bbob-f08-d5": Source("continuous", partial(coco, suite="bbob", function=8, n_dims=5)),
    "bbob-f15-d10": Source("continuous", partial(coco, suite="bbob", function=15, n_dims=10)),
    "bbob-f21-d5": Source("continuous", partial(coco, suite="bbob", function=21, n_dims=5)),
    "nevergrad-cigar-d8": Source(
        "continuous", partial(nevergrad, function="cigar", n_dims=8, rotation=True)
    ),
    "mixint-f08-d5": Source("mixed", partial(coco, suite="bbob-mixint", function=8, n_dims=5)),
    "mixint-f15-d10": Source("mixed", partial(coco, suite="bbob-mixint", function=15, n_dims=10)),
    "mixed7": Source("mixed", partial(studied, called="mixed7")),
    "learners": Source("conditional", learners),
    "layers": Source("conditional", layers),
    "pipeline": Source("conditional", pipeline),
    "bbob-f01-d5-noisy": Source(
        "noisy", partial(coco, suite="bbob", function=1, n_dims=5, noise_sd=2.0)
    ),
    "nevergrad-ackley-d4-noisy": Source(
        "noisy", partial(nevergrad, function="ackley", n_dims=4, n_idle=4, noise_sd=1.0)
    ),
    "plateau8": Source("noisy", partial(studied, called="plateau8")),
    "bbob-f03-d5": Source(
        "continuous", partial(coco, suite="bbob", function=3, n_dims=5), is_new=True
    ),
    "bbob-f13-d10": Source(
        "continuous", partial(coco, suite="bbob", function=13, n_dims=10), is_new=True
    ),
    "bbob-f18-d5": Source(
        "continuous", partial(coco, suite="bbob", function=18, n_dims=5), is_new=True
    ),
    "nevergrad-lunacek-d6": Source(
        "continuous", partial(nevergrad, function="lunacek", n_dims=6), is_new=True
    ),
    "mixint-f03-d5": Source(
        "mixed", partial(coco, suite="bbob-mixint", function=3, n_dims=5), is_new=True
    ),
    "mixint-f13-d10": Source(
        "mixed", partial(coco, suite="bbob-mixint", function=13, n_dims=10), is_new=True
    ),
    "bbob-f14-d5-noisy": Source(
        "noisy", partial(coco, suite="bbob", function=14, n_dims=5, noise_sd=2.0), is_new=True
    ),
    "nevergrad-rastrigin-d4-noisy": Source(
        "noisy",
        partial(nevergrad, function="rastrigin", n_dims=4, n_idle=4, noise_sd=5.0),
        is_new=True,
    ),
}
KINDS = tuple(dict.fromkeys(source.kind for source in PROBLEMS.values()))


def make(name: str, seed: int) -> Problem:
    """Return the instance of a problem that a seed stands for."""
    return PROBLEMS[name].make(name, seed)


def duration(name: str, seed: int, number: int) -> float:
    """Draw the duration of a trial, in virtual units of time; it is the same for all methods.

    Parameters
    ----------
    name : str
        The problem's.
    seed, number : int
        The run's, and the trial's in order of starting.

    Returns
    -------
    float
        Log-normal: median 1, half of all between 0.51 and 1.96.
    """
    return math.exp(float(_rng(name, seed, number, of=0).standard_normal()))


def observe(problem: Problem, name: str, seed: int, number: int, config: Config) -> float:
    """Evaluate with the noise of the trial with this number."""
    return problem.observe(config, _rng(name, seed, number, of=1))


def _rng(name: str, seed: int, number: int, *, of: int) -> np.random.Generator:
    return np.random.default_rng([*name.encode(), seed, number, of])
