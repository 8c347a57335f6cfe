"""The archive: ended trials as rows of numbers; rows are only added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rush_core import EndedTasks, TaskTable
from rush_opt.arrays import RowArray
from rush_opt.models.surrogate import Model, Surrogate
from rush_opt.problem.goal import Goal
from rush_opt.search.ranking import Ranking
from rush_opt.search.stopped_trials import StoppedTrials, WholeTrialModel, with_progress
from rush_opt.space import Space
from rush_opt.stopping.curves import Curves
from rush_opt.stopping.incumbent import STOPPED_AT

__all__ = ["Archive", "EvaluatedPoints"]

_INITIAL_CAPACITY = 256


class EvaluatedPoints(Protocol):
    """The data that a proposer reads: evaluated points, and one loss for each.

    `Archive` has this interface for one goal, and `Scalarized` for several goals.
    """

    @property
    def space(self) -> Space:
        """The search space."""

    def __len__(self) -> int:
        """Count the points, without those of stopped trials."""

    def __contains__(self, row: npt.NDArray[np.floating[Any]]) -> bool:
        """Return whether a snapped row was evaluated; rows are compared in single precision."""

    @property
    def X(self) -> RowArray:  # noqa: N802  # the field's name for rows of features
        """Snapped rows of the unit cube, shape (n, n_dims): a read-only view."""

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Losses, shape (n,): a read-only view; less is better, infinity for a failed trial."""

    @property
    def n_stopped(self) -> int:
        """Number of stopped trials that `fit` uses in addition."""

    def best(self, k: int) -> npt.NDArray[np.intp]:
        """Return the indices of the `k` best points, best first; of equals, the earlier first."""

    def fit(
        self,
        surrogate: Surrogate,
        rng: np.random.Generator,
        *,
        assumed: tuple[RowArray, npt.NDArray[np.float64]] | None = None,
    ) -> Model:
        """Fit a model to all points."""


class Archive:
    """Ended trials: their points and their losses. Losses are always minimized.

    A trial that was stopped early has no row. Its value belongs to an earlier step and cannot be
    compared with the values of completed trials. Its point counts as evaluated. If the archive has
    `curves`, a model learns from stopped trials through `StoppedTrials`.

    Parameters
    ----------
    space : Space
    goals : sequence of Goal
        Usually one.
    curves : Curves, optional
        What trials reported. The caller adds new reports. Without curves, `fit` ignores stopped
        trials.

    Raises
    ------
    ValueError
        If there is no goal.
    """

    def __init__(
        self, space: Space, goals: Sequence[Goal], *, curves: Curves | None = None
    ) -> None:
        if not goals:
            raise ValueError("an archive needs a goal, such as Goal('loss'); got none")
        self.space = space
        self.goals = tuple(goals)
        self._metrics = [goal.name for goal in goals]
        self._signs = np.array([goal.sign for goal in goals])
        self._n = 0
        self._X = np.empty((_INITIAL_CAPACITY, space.n_dims), dtype=np.float32)
        self._Y = np.empty((_INITIAL_CAPACITY, len(goals)))
        self._evaluated: set[bytes] = set()
        self._ranking = Ranking()
        self._stopped = None if curves is None else StoppedTrials(curves, space.n_dims)

    def __len__(self) -> int:
        """Count the finished and failed trials, without stopped ones."""
        return self._n

    @property
    def n_stopped(self) -> int:
        """Number of stopped trials that `fit` uses in addition."""
        return len(self._stopped) if self._stopped is not None else 0

    @property
    def X(self) -> RowArray:  # noqa: N802  # the field's name for rows of features
        """Snapped rows of the unit cube, shape (n, n_dims): a read-only view."""
        return _read_only(self._X[: self._n])

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Losses, shape (n,): a read-only view; less is better, infinity for a failed trial.

        Raises
        ------
        ValueError
            If there are several goals: see `rush_opt.search.scalarization.Scalarized`.
        """
        if len(self.goals) > 1:
            raise ValueError(
                f"y needs one goal, but there are {self._metrics}; use Y, or combine the goals: "
                "Scalarized(archive, weights).y"
            )
        return _read_only(self._Y[: self._n, 0])

    @property
    def Y(self) -> npt.NDArray[np.float64]:  # noqa: N802  # the field's name for rows of values
        """Losses in all goals, shape (n, m): a read-only view."""
        return _read_only(self._Y[: self._n])

    @property
    def incumbent(self) -> int | None:
        """Index of the best trial, the earliest of equals; None if there is no trial."""
        return int(self.best(1)[0]) if self._n else None

    def add_ended(self, ended: EndedTasks) -> None:
        """Append the finished tasks, then the failed ones."""
        self.add(ended.finished)
        self.add_failed(ended.failed)

    def add(self, tasks: TaskTable) -> None:
        """Append finished tasks, all or none.

        Parameters
        ----------
        tasks : TaskTable
            In order of completion. An objective value that is NaN becomes an infinite loss.

        Raises
        ------
        ValueError
            If a configuration is not of this space, or a result has no number for a goal.
        """
        if not len(tasks):
            return
        space = self.space
        numbers = tasks.to_numpy(space.number_names, of="config")
        configs = tasks.configs if space.other_names else []
        X = space.encode_columns(numbers, configs).astype(np.float32)
        Y = tasks.to_numpy(self._metrics, of="result") * self._signs
        Y[np.isnan(Y)] = np.inf
        steps = tasks.result_notes(STOPPED_AT)
        stopped = np.array([step is not None for step in steps])
        self._evaluated.update(_row_bytes(X[stopped]))
        self._append(X[~stopped], Y[~stopped])
        if self._stopped is not None:
            completed = [key for key, step in zip(tasks.keys, steps, strict=True) if step is None]
            self._stopped.add_completed(completed, X[~stopped], Y[~stopped, 0])
            self._stopped.add(X[stopped], Y[stopped, 0], [s for s in steps if s is not None])

    def add_failed(self, tasks: TaskTable) -> None:
        """Append failed tasks with an infinite loss, so that a model avoids their neighbourhood.

        Parameters
        ----------
        tasks : TaskTable
            Tasks whose objective failed. Leave out lost and cleared tasks: they say nothing about
            their points.

        Raises
        ------
        ValueError
            If a configuration is not of this space.
        """
        if len(tasks):
            X = self.space.encode(tasks.configs).astype(np.float32)
            self._append(X, np.full((len(X), len(self.goals)), np.inf))

    def fit(
        self,
        surrogate: Surrogate,
        rng: np.random.Generator,
        *,
        assumed: tuple[RowArray, npt.NDArray[np.float64]] | None = None,
    ) -> Model:
        """Fit a model to all trials; `StoppedTrials` makes the rows of stopped ones.

        Parameters
        ----------
        surrogate : Surrogate
            If there are stopped trials, its rows have one column more than the space has
            dimensions.
        rng : numpy.random.Generator
        assumed : tuple of ndarrays of shape (k, n_dims) and (k,), optional
            Rows and losses that are assumed for points whose results are not known yet.

        Returns
        -------
        Model
            It predicts the losses of completed trials at rows of the unit cube.
        """
        X, y = self.X, self.y
        if assumed is not None:
            X, y = np.concatenate([X, assumed[0]]), np.concatenate([y, assumed[1]])
        if not self._stopped:
            return surrogate.fit(X, y, rng)
        stopped_X, stopped_y = self._stopped.rows()
        X = np.concatenate([with_progress(X), stopped_X])
        return WholeTrialModel(surrogate.fit(X, np.concatenate([y, stopped_y]), rng))

    def __contains__(self, row: npt.NDArray[np.floating[Any]]) -> bool:
        """Return whether a snapped row was evaluated; rows are compared in single precision."""
        return row.astype(np.float32).tobytes() in self._evaluated

    def best(self, k: int) -> npt.NDArray[np.intp]:
        """Find the best trials; the cost depends on the number of trials since the last call.

        Parameters
        ----------
        k : int
            Number of trials to find, ``>= 1``.

        Returns
        -------
        ndarray of int, shape (min(k, n),)
            Indices, best first; of equal trials, the earlier first.
        """
        return self._ranking.best(self.y, k)

    def _append(self, X: RowArray, Y: npt.NDArray[np.float64]) -> None:
        end = self._n + len(Y)
        self._reserve(end)
        self._X[self._n : end] = X
        self._Y[self._n : end] = Y
        self._n = end
        self._evaluated.update(_row_bytes(X))

    def _reserve(self, n: int) -> None:
        capacity = len(self._Y)
        if n <= capacity:
            return
        while capacity < n:
            capacity *= 2
        X = np.empty((capacity, self._X.shape[1]), dtype=np.float32)
        Y = np.empty((capacity, self._Y.shape[1]))
        X[: self._n], Y[: self._n] = self._X[: self._n], self._Y[: self._n]
        self._X, self._Y = X, Y


def _row_bytes(X: RowArray) -> list[Any]:
    """Return the bytes of each row; several times faster than a loop over the rows."""
    return X.view(np.dtype((np.void, X.shape[1] * X.itemsize))).ravel().tolist()


def _read_only(view: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view.flags.writeable = False
    return view
