"""The compared variants: each one makes a worker's proposer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from experiments.proposal_study.simulate import Make, Proposer
from rush_opt.arrays import RowArray
from rush_opt.models.forest import ExtraTrees, Forest
from rush_opt.models.gaussian_process import GaussianProcess
from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.targets import rank_quantiles
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import Candidates, draw_new, propose
from rush_opt.search.exploration import LAMBDA_MEAN, decayed_lambda, draw_lambda
from rush_opt.search.pending import Pending
from rush_opt.space import FloatArray


def exponential(rng: np.random.Generator) -> Callable[[int], float]:
    """Let a worker's weight, drawn once, fade and return: what ADBO does."""
    lambda_0 = draw_lambda(rng)
    return lambda t: decayed_lambda(lambda_0, t)


@dataclass(frozen=True)
class Variant:
    """One way to propose.

    Attributes
    ----------
    surrogate : object
    candidates : Candidates
    weights : callable
        From a worker's random stream to its exploration weights, by number of proposals.
    n_before_model : int or None
        Finished trials before the first model; as many as dimensions by default.
    look : callable
        ``look(model, pending)`` returns a model that uses the points that others are running.
    avoid : bool
        Whether exactly the points that others are running are avoided.
    p_random : float
        Share of proposals that are drawn at random.
    """

    surrogate: Any = field(default_factory=ExtraTrees)
    candidates: Candidates = field(default_factory=partial(Candidates, p_choices=0.0))
    weights: Callable[[np.random.Generator], Callable[[int], float]] = exponential
    n_before_model: int | None = None
    look: Callable[[Any, Pending], Any] = lambda model, pending: model
    avoid: bool = False
    p_random: float = 0.0

    def __call__(self, rng: np.random.Generator) -> Proposer:
        """Make a worker's proposer."""
        return _Proposer(self, rng)


class _Proposer:
    def __init__(self, variant: Variant, rng: np.random.Generator) -> None:
        self._variant, self._rng, self._weight = variant, rng, variant.weights(rng)
        self._n_proposed = 0

    def propose(self, archive: Archive, pending: Pending) -> FloatArray:
        variant, rng = self._variant, self._rng
        lam = self._weight(self._n_proposed)
        self._n_proposed += 1
        least = variant.n_before_model or archive.space.n_dims
        if len(archive) < least or rng.random() < variant.p_random:
            return draw_new(archive, rng)
        model = variant.look(variant.surrogate.fit(archive.X, archive.y, rng), pending)
        known = pending if variant.avoid else ()
        return propose(archive, model, lam, rng, candidates=variant.candidates, pending=known)


class RandomSearch:
    """No model at all."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def propose(self, archive: Archive, pending: Pending) -> FloatArray:
        """Draw."""
        return draw_new(archive, self._rng)


class Crowded:
    """A forest that is surer of what shares its leaves with points that are being evaluated.

    In a tree, a leaf of n rows and p pending points shrinks the variance by n / (n + p); the mean
    over the trees shrinks what the forest predicts.
    """

    def __init__(self, forest: Forest, pending: Pending) -> None:
        self._forest = forest
        self._shares = []
        if len(pending):
            for tree in forest._trees:
                n = tree.n_node_samples.astype(np.float64)
                p = np.bincount(tree.apply(pending.X), minlength=len(n))
                self._shares.append(n / (n + p))

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Predict with a smaller standard deviation."""
        mean, sd = self._forest.predict(X)
        if not self._shares:
            return mean, sd
        rows = np.ascontiguousarray(X, dtype=np.float32)
        trees = zip(self._forest._trees, self._shares, strict=True)
        shrink = np.mean([shares[tree.apply(rows)] for tree, shares in trees], axis=0)
        return mean, sd * np.sqrt(shrink)


class Distant:
    """A model that predicts worse means within a distance of running points."""

    def __init__(self, model: Any, pending: Pending, radius: float, penalty: float = 0.5) -> None:
        self._model, self._X, self._radius, self._penalty = model, pending.X, radius, penalty

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Predict worse means near pending points, linearly up to the radius."""
        mean, sd = self._model.predict(X)
        if not len(self._X):
            return mean, sd
        P = self._X.astype(np.float64)
        squares = (X * X).sum(axis=1)[:, None] + (P * P).sum(axis=1) - 2.0 * (X @ P.T)
        nearest = np.sqrt(np.maximum(squares.min(axis=1), 0.0) / X.shape[1])
        return mean + self._penalty * np.maximum(1.0 - nearest / self._radius, 0.0), sd


@dataclass(frozen=True)
class RankProcess:
    """A process that sees the quantiles of ranks, as the trees do, and learns from all rows."""

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Any:
        """Fit."""
        return GaussianProcess(n_learn=100).fit(X, rank_quantiles(y), rng)


@dataclass(frozen=True)
class MoreTreesFirst:
    """More trees as long as they cost little."""

    n_trees: int = 40
    until: int = 60

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Forest:
        """Fit more or the usual number."""
        return ExtraTrees(n_trees=self.n_trees if len(y) <= self.until else 10).fit(X, y, rng)


BASE = Variant()
HALF = Variant(weights=lambda rng: _scaled(exponential(rng), 0.5))
CONSTANT = Variant(weights=lambda rng: lambda t: LAMBDA_MEAN)
UNIFORM = Variant(weights=lambda rng: _constant(rng.uniform(0, 2 * LAMBDA_MEAN)))
PROCESS = Variant(surrogate=GaussianProcess())
PROCESS_FIRST = Variant(surrogate=ProcessThenTrees())
VARIANTS: dict[str, Make] = {
    "base": BASE,
    "random search": RandomSearch,
    "process first": PROCESS_FIRST,
    "process first, choices drawn 0.2": replace(
        PROCESS_FIRST, candidates=Candidates(p_choices=0.2)
    ),
    "process first, choices drawn 0.4": replace(
        PROCESS_FIRST, candidates=Candidates(p_choices=0.4)
    ),
    "process always": PROCESS,
    "process always, avoid what runs": replace(PROCESS, avoid=True),
    "process always, distance 0.05": replace(PROCESS, look=partial(Distant, radius=0.05)),
    "process on ranks": Variant(surrogate=RankProcess()),
    "40 trees up to 60": Variant(surrogate=MoreTreesFirst()),
    "lambda / 2": HALF,
    "lambda constant": CONSTANT,
    "lambda uniform": UNIFORM,
    "local": Variant(candidates=Candidates(200, 400, 400, n_parents=5, p_choices=0.0)),
    "10 % random": Variant(p_random=0.1),
    "avoid what runs": Variant(avoid=True),
    "crowded leaves": Variant(look=Crowded),
    "distance 0.05": Variant(look=partial(Distant, radius=0.05)),
    "distance 0.15": Variant(look=partial(Distant, radius=0.15)),
}


def _scaled(weight: Callable[[int], float], factor: float) -> Callable[[int], float]:
    return lambda t: factor * weight(t)


def _constant(weight: float) -> Callable[[int], float]:
    return lambda t: weight
