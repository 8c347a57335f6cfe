"""How much time do our own numerics save, compared with libraries that can do the same?

``python -m experiments.own_numerics`` appends rows to ``results/raw/own_numerics.csv`` and writes
``results/tables/own_numerics.md`` from this run's rows. Times are CPU milliseconds on one core.

Each comparison uses the same data for all variants:

- learning the length scales of a Gaussian process by our BFGS or by SciPy's L-BFGS-B, both with at
  most 10 evaluations from the same start and between the same bounds;
- fitting a Gaussian process and predicting with it: ours, or scikit-learn's with the same kernel
  and its default optimizer without restarts;
- growing 10 extremely randomized trees and predicting with them: our driver, scikit-learn's
  estimator with the same settings, and the estimator with its default of 100 trees;
- finding the non-dominated points of sorted points: in one pass, or by repeatedly removing the
  points that the first remaining point dominates.

Expected before measuring: for 10 evaluations of the density, SciPy adds more than 1 ms; the
estimator of scikit-learn takes 5 times as long for the same 10 trees, and its Gaussian process more
than 10 times as long; both ways to find fronts are equally fast if less than a tenth of the points
is on the front.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt.arrays import FloatArray
from rush_opt.models import likelihood
from rush_opt.models.bfgs import descend
from rush_opt.models.forest import ExtraTrees
from rush_opt.models.gaussian_process import GaussianProcess
from rush_opt.models.linear_algebra import one_thread
from rush_opt.models.targets import rank_quantiles, squash
from rush_opt.results import pareto

N_DIMS = 8
N_EVALUATIONS = 10

Cell = tuple[str, str, int, Callable[[], Any]]


def bowl(n: int, seed: int) -> tuple[np.ndarray[Any, np.dtype[np.float32]], FloatArray]:
    """Make rows and noisy values of a quadratic function."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, N_DIMS), dtype=np.float32)
    return X, ((X.astype(np.float64) - 0.35) ** 2).sum(axis=1) + 0.05 * rng.standard_normal(n)


def descents(n: int, seed: int) -> list[Cell]:
    """Learn the length scales from n rows, and evaluate their density only."""
    X, y = bowl(n, seed)
    points, z = X.astype(np.float64), squash(y)
    pairs = np.tril_indices(n, -1)
    D = ((points.T[:, pairs[0]] - points.T[:, pairs[1]]) ** 2).reshape(N_DIMS, -1)
    start = np.append(np.full(N_DIMS, 1.4), -3.5)
    low, high = np.append(np.full(N_DIMS, -6.0), -9.0), np.append(np.full(N_DIMS, 8.0), 0.0)

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        return likelihood.loss(theta, D, z, pairs)

    def ours() -> float:
        with one_thread():
            theta = descend(loss, start, low=low, high=high, n_evaluations=N_EVALUATIONS)
            return loss(theta)[0]

    def scipys() -> float:
        with one_thread():
            found = minimize(
                *(loss, start),
                jac=True,
                method="L-BFGS-B",
                bounds=list(zip(low, high, strict=True)),
                options={"maxfun": N_EVALUATIONS},
            )
            return float(found.fun)

    def evaluations() -> None:
        with one_thread():
            for _ in range(N_EVALUATIONS):
                loss(start)

    return [
        ("descent", "our BFGS", n, ours),
        ("descent", "SciPy's L-BFGS-B", n, scipys),
        ("descent", "10 evaluations alone", n, evaluations),
    ]


def processes(n: int, seed: int) -> list[Cell]:
    """Fit Gaussian processes to n rows, and predict 1,000 points."""
    X, y = bowl(n, seed)
    new, z, rng = bowl(1_000, seed + 1)[0], squash(y), np.random.default_rng(seed)

    def ours() -> None:
        GaussianProcess().fit(X, y, rng).predict(new)

    def theirs() -> None:
        kernel = ConstantKernel() * Matern(np.full(N_DIMS, 0.5), nu=2.5) + WhiteKernel(0.03)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound
            process = GaussianProcessRegressor(kernel).fit(X, z)
            process.predict(new, return_std=True)

    return [
        ("process", "our Gaussian process", n, ours),
        ("process", "scikit-learn's Gaussian process", n, theirs),
    ]


def forests(n: int, seed: int) -> list[Cell]:
    """Fit forests to n rows, and predict 1,000 points."""
    X, y = bowl(n, seed)
    new, z, rng = bowl(1_000, seed + 1)[0], rank_quantiles(y), np.random.default_rng(seed)

    def ours() -> None:
        ExtraTrees(n_rows=n).fit(X, y, rng).predict(new)

    def theirs(n_trees: int, min_samples_split: int) -> Callable[[], Any]:
        def fit() -> None:
            forest = ExtraTreesRegressor(n_trees, min_samples_split=min_samples_split)
            forest.fit(X, z).predict(new)

        return fit

    return [
        ("forest", "our driver, 10 trees", n, ours),
        ("forest", "scikit-learn, the same 10 trees", n, theirs(10, 5)),
        ("forest", "scikit-learn, default of 100 trees", n, theirs(100, 2)),
    ]


def fronts(n: int, seed: int) -> list[Cell]:
    """Find the non-dominated of n sorted points."""
    rng = np.random.default_rng(seed)
    cells: list[Cell] = []
    for m in (2, 3):
        sphere = np.abs(rng.standard_normal((n, m)))
        sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
        shapes = {
            "uniform": rng.random((n, m)),
            "near a sphere": sphere * (1.0 + 0.2 * rng.random((n, 1))),
            "all on the front": sphere,
        }
        for shape, Y in shapes.items():
            if n > 1_000 and shape == "all on the front":
                continue  # takes many seconds
            Y = np.unique(Y, axis=0)
            what = f"{m} objectives, {shape}, {int(pareto.non_dominated(Y).sum())} on the front"
            one_pass = pareto._keep_below if m == 2 else pareto._keep_outside_staircase
            cells.append(("front", f"{what}: one pass", n, partial(one_pass, Y)))
            cells.append(("front", f"{what}: removal", n, partial(pareto._keep_rest, Y)))
    return cells


def measure(n_repeats: int, seed: int) -> list[dict[str, Any]]:
    """Time everything again and again, in a new order each time, after one warm-up."""
    cells = [
        *(cell for n in (20, 50) for cell in descents(n, seed)),
        *(cell for n in (20, 50, 100) for cell in processes(n, seed)),
        *(cell for n in (100, 300, 1_000) for cell in forests(n, seed)),
        *(cell for n in (1_000, 10_000) for cell in fronts(n, seed)),
    ]
    source = provenance()
    for *_, action in cells:
        action()
    rng = np.random.default_rng(seed)
    rows = []
    for repeat in range(n_repeats):
        for i in rng.permutation(len(cells)):
            subject, what, n, action = cells[i]
            begin = time.thread_time_ns()
            result = action()
            ms = (time.thread_time_ns() - begin) / 1e6
            loss = f"{result:.6f}" if isinstance(result, float) else ""
            row = {"subject": subject, "what": what, "n": n, "repeat": repeat, "loss": loss}
            rows.append({**row, "value": round(ms, 4), "unit": "CPU ms", "seed": seed, **source})
    return rows


def table(rows: pd.DataFrame) -> str:
    """Summarize rows: median and quartiles per cell, as Markdown."""
    lines = [
        "| subject | n | what | median CPU ms | quartiles | repeats | loss at the end |",
        "|---|---|---|---|---|---|---|",
    ]
    for (subject, n, what), cell in rows.groupby(["subject", "n", "what"], sort=True):
        low, median, high = cell["value"].quantile([0.25, 0.5, 0.75])
        lines.append(
            f"| {subject} | {n:,} | {what} | {median:.2f} | {low:.2f} .. {high:.2f} "
            f"| {len(cell)} | {cell['loss'].iloc[0]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Pin to one core, measure, keep the rows, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    rows = measure(arguments.repeats, arguments.seed)
    append_rows(RAW / "own_numerics.csv", rows)
    source = rows[0]
    (TABLES / "own_numerics.md").write_text(
        f"# CPU time of our own numerics and of libraries\n\n{source['machine']}, one core; Python "
        f"{source['python']}, NumPy {source['numpy']}, SciPy {source['scipy']}, scikit-learn "
        f"{source['scikit_learn']}; {source['started']}. Made by `python -m "
        "experiments.own_numerics` from `results/raw/own_numerics.csv`.\n\n"
        "The loss is the negative log posterior density of the length scales that were found: less "
        "is better.\n\n" + table(pd.DataFrame(rows))
    )


if __name__ == "__main__":
    main()
