"""Learning curves of a small network on the digits, one for each point of a grid of settings.

`experiments/early_stopping.py` reads these real curves, in addition to simulated ones. Each of
1,344 networks has one hidden layer. It is trained by stochastic gradient descent in 27 passes over
60 % of scikit-learn's digits, and the log loss on the other 40 % is recorded after each pass. With
a large learning rate, a network learns fast and ends badly; with a small one, it learns slowly. So
curves cross.

Run from the project's root: ``python -m experiments.learning_curves`` (about 8 minutes of one core)
"""

from __future__ import annotations

import csv
import functools
import itertools
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from experiments.provenance import RAW, append_rows, provenance
from rush_opt import Ordinal, Space

ROWS = RAW / "learning_curves.csv"
N_STEPS = 27
LEVELS: dict[str, list[Any]] = {
    "learning_rate": [0.001, 0.0032, 0.01, 0.032, 0.1, 0.32, 1.0],
    "momentum": [0.0, 0.5, 0.9, 0.97],
    "alpha": [1e-5, 1e-3, 1e-1],
    "n_hidden": [8, 16, 32, 64],
    "batch_size": [16, 32, 64, 128],
}
SPACE = Space({name: Ordinal(levels) for name, levels in LEVELS.items()})


def train(config: dict[str, Any]) -> list[float]:
    """Return the log loss after each pass; infinite from where the weights overflow."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, test_size=0.4, stratify=y, random_state=0
    )
    network = MLPClassifier(
        (config["n_hidden"],),
        solver="sgd",
        learning_rate_init=config["learning_rate"],
        momentum=config["momentum"],
        alpha=config["alpha"],
        batch_size=config["batch_size"],
        random_state=0,
    )
    losses = []
    for _ in range(N_STEPS):
        try:
            network.partial_fit(X_train, y_train, classes=range(10))
        except ValueError:  # weights that are not finite
            break
        p = network.predict_proba(X_test)[np.arange(len(y_test)), y_test]
        losses.append(float(-np.log(np.maximum(p, 1e-15)).mean()))
    return losses + [np.inf] * (N_STEPS - len(losses))


def loss_at(X: np.ndarray, step: int) -> np.ndarray:
    """Look up the losses of snapped rows of the unit cube after a pass, from 1, shape (n,)."""
    counts = np.array([len(levels) for levels in LEVELS.values()])
    return np.asarray(_table()[(*(X * counts).astype(int).T, step - 1)])


@functools.cache
def _table() -> np.ndarray:
    """Read all curves, shape (7, 4, 3, 4, 4, 27): by each setting's levels, and by the step."""
    with ROWS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = np.full((*map(len, LEVELS.values()), N_STEPS), np.nan)
    for row in rows:
        place = [levels.index(type(levels[0])(row[name])) for name, levels in LEVELS.items()]
        table[tuple(place)] = [float(row[f"loss_{step}"]) for step in range(1, N_STEPS + 1)]
    return table


def _row(config: dict[str, Any]) -> dict[str, Any]:
    with threadpool_limits(limits=1):
        losses = train(config)
    return config | {f"loss_{step}": f"{loss:.5g}" for step, loss in enumerate(losses, start=1)}


def main() -> None:
    configs = [
        dict(zip(LEVELS, values, strict=True)) for values in itertools.product(*LEVELS.values())
    ]
    common = provenance()
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(_row, configs, chunksize=8):
            append_rows(ROWS, [row | common])


if __name__ == "__main__":
    main()
