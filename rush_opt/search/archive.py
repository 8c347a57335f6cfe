"""The finished tasks as an optimizer sees them: rows of numbers that only grow."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from rush_opt.models.surrogate import Model, Surrogate
from rush_opt.search.scalarization import draw_weights, scalarize
from rush_opt.search.stopped_trials import AtTheEnd, StoppedTrials, with_progress
from rush_opt.space import Space
from rush_opt.stopping.curves import Curves
from rush_opt.stopping.incumbent import STOPPED_AT

# Rows are single precision: the tree builder reads nothing else (converting would cost a copy per
# fit), half the memory moves when rows are gathered, and rounding to 2**-24 makes rows equal again
# that differ in the last bits after decoding and encoding. The objective stays in double precision.
RowArray = npt.NDArray[np.float32]

_INITIAL_CAPACITY = 256


class FailedTasks(Protocol):
    """What the archive needs of failed tasks."""

    def __len__(self) -> int: ...

    @property
    def configs(self) -> list[dict[str, Any]]:
        """The configurations, decoded at each access."""


class FinishedTasks(FailedTasks, Protocol):
    """What the archive needs of finished tasks: their columns. `rush_core.TaskTable` has them."""

    def to_numpy(
        self, names: Sequence[str], *, of: Literal["config", "result"]
    ) -> npt.NDArray[np.float64]:
        """Return numbers of all tasks as a matrix."""

    @property
    def keys(self) -> list[str]:
        """The identifiers."""

    def result_notes(self, name: str) -> list[Any]:
        """Return what was given along with each task's result under a name; None if nothing."""


class EndedTasks(Protocol):
    """What the archive needs of tasks that ended, either way."""

    @property
    def finished(self) -> FinishedTasks: ...  # noqa: D102
    @property
    def failed(self) -> FailedTasks: ...  # noqa: D102


class Archive:
    """Finished tasks: where they were and what came out, always to be minimized.

    A task that was stopped early is not proposed again, and none of the rows and values here: its
    value, of an earlier step, does not compare with those of whole ones. What it tells of them a
    model learns from `StoppedTrials`, if what tasks reported is known.

    Parameters
    ----------
    space : Space
        What is searched.
    *metrics : str
        The names of the objective values in a result, usually one.
    signs : sequence of float, optional
        For each of them 1 to minimize it, -1 to maximize it; by default all are minimized.
    curves : Curves, optional
        What tasks reported, as far as is known; without them nothing is learned from stopped ones.
    """

    def __init__(
        self,
        space: Space,
        *metrics: str,
        signs: Sequence[float] | None = None,
        curves: Curves | None = None,
    ) -> None:
        signs = (1.0,) * len(metrics) if signs is None else tuple(map(float, signs))
        if not metrics or len(signs) != len(metrics) or not {1.0, -1.0}.issuperset(signs):
            raise ValueError(
                "need a metric or several, and for each sign 1 (minimize) or -1 (maximize), got "
                f"{metrics!r} and {signs!r}"
            )
        self.space = space
        self.metrics = metrics
        self.signs = signs
        self._n = 0
        self._X = np.empty((_INITIAL_CAPACITY, space.n_dims), dtype=np.float32)
        self._Y = np.empty((_INITIAL_CAPACITY, len(metrics)))
        self._keys: set[bytes] = set()
        self._best = np.empty(0, dtype=np.intp)
        self._n_ranked = 0
        self._stopped = None if curves is None else StoppedTrials(curves, space.n_dims)

    def __len__(self) -> int:
        """How many finished tasks there are, stopped ones aside."""
        return self._n

    @property
    def n_stopped(self) -> int:
        """How many stopped tasks a model learns of besides."""
        return len(self._stopped) if self._stopped is not None else 0

    @property
    def X(self) -> RowArray:  # noqa: N802  # the field's name for rows of features
        """Snapped rows of the unit cube, shape (n, n_dims): a read-only view."""
        return _read_only(self._X[: self._n])

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Objective values times their sign, shape (n,): a read-only view; the less, the better.

        Raises
        ------
        ValueError
            If there are several objectives: see the archive through weights, `scalarized`.
        """
        if len(self.metrics) > 1:
            raise ValueError(
                f"need one objective to have one value per task, got {self.metrics!r}; take Y, or "
                "weigh them: scalarized(weights).y"
            )
        return _read_only(self._Y[: self._n, 0])

    @property
    def Y(self) -> npt.NDArray[np.float64]:  # noqa: N802  # the field's name for rows of values
        """Values of all objectives times their signs, shape (n, m): a read-only view."""
        return _read_only(self._Y[: self._n])

    @property
    def incumbent(self) -> int | None:
        """Index of the best finished task, the earliest if several are; None without any."""
        return int(self.best(1)[0]) if self._n else None

    def add_ended(self, ended: EndedTasks) -> None:
        """Append what ended: the finished tasks, then the failed ones."""
        self.add(ended.finished)
        self.add_failed(ended.failed)

    def add(self, tasks: FinishedTasks) -> None:
        """Append finished tasks, all or none.

        Parameters
        ----------
        tasks : FinishedTasks
            In order of completion. An objective value that is NaN is taken as the worst there is.

        Raises
        ------
        ValueError
            If a configuration is none of the space's, or a result has no number under a metric.
        """
        if not len(tasks):
            return
        space = self.space
        numbers = tasks.to_numpy(space.number_names, of="config")
        configs = tasks.configs if space.other_names else []
        X = space.encode_columns(numbers, configs).astype(np.float32)
        Y = tasks.to_numpy(self.metrics, of="result") * self.signs
        Y[np.isnan(Y)] = np.inf
        steps = tasks.result_notes(STOPPED_AT)
        stopped = np.array([step is not None for step in steps])
        self._keys.update(_row_keys(X[stopped]))
        self._append(X[~stopped], Y[~stopped])
        if self._stopped is not None:
            whole = [key for key, step in zip(tasks.keys, steps, strict=True) if step is None]
            self._stopped.add_whole(whole, X[~stopped], Y[~stopped, 0])
            self._stopped.add(X[stopped], Y[stopped, 0], [s for s in steps if s is not None])

    def add_failed(self, tasks: FailedTasks) -> None:
        """Append failed tasks as the worst there are, so that a model keeps away from their like.

        Parameters
        ----------
        tasks : FailedTasks
            Those that failed by themselves; of a lost or cleared task nothing is known.

        Raises
        ------
        ValueError
            If a configuration is none of the space's.
        """
        if len(tasks):
            X = self.space.encode(tasks.configs).astype(np.float32)
            self._append(X, np.full((len(X), len(self.metrics)), np.inf))

    def fit(self, surrogate: Surrogate, rng: np.random.Generator) -> Model:
        """Fit a model to all tasks, and to stopped ones as `StoppedTrials` has them.

        Parameters
        ----------
        surrogate : Surrogate
            Where tasks were stopped, its rows have one column more than there are dimensions.
        rng : numpy.random.Generator

        Returns
        -------
        Model
            Of what whole tasks come to, at rows of the unit cube.
        """
        if not self._stopped:
            return surrogate.fit(self.X, self.y, rng)
        X, y = self._stopped.rows()
        X, y = np.concatenate([with_progress(self.X), X]), np.concatenate([self.y, y])
        return AtTheEnd(surrogate.fit(X, y, rng))

    def scalarized(self, weights: npt.NDArray[np.float64]) -> Archive:
        """Return the archive as it looks with one objective made of all of them.

        Parameters
        ----------
        weights : ndarray of shape (m,)
            How much each objective counts; see `rush_opt.search.scalarization.scalarize`.

        Returns
        -------
        Archive
            The same tasks, of which it shares the rows: to be read, not to be added to.
        """
        seen = copy.copy(self)
        seen.metrics, seen.signs, seen._stopped = ("scalarized",), (1.0,), None
        seen._X, seen._Y = self.X, scalarize(self.Y, weights)[:, np.newaxis]
        seen._best, seen._n_ranked = np.empty(0, dtype=np.intp), 0
        return seen

    def _append(self, X: RowArray, Y: npt.NDArray[np.float64]) -> None:
        end = self._n + len(Y)
        self._reserve(end)
        self._X[self._n : end] = X
        self._Y[self._n : end] = Y
        self._n = end
        self._keys.update(_row_keys(X))

    def __contains__(self, row: npt.NDArray[np.floating[Any]]) -> bool:
        """Tell whether a snapped row has been evaluated, to single precision."""
        return row.astype(np.float32).tobytes() in self._keys

    def best(self, k: int) -> npt.NDArray[np.intp]:
        """Find the best tasks.

        Parameters
        ----------
        k : int
            How many, ``>= 1``.

        Returns
        -------
        ndarray of int, shape (min(k, n),)
            Indices, best first, earlier ones first among equals.

        Notes
        -----
        Only what came since the last call is compared with the best known until then, unless more
        are asked for than before: cost follows what is new, not what there is.
        """
        if k > len(self._best):
            self._n_ranked = 0
            self._best = self._best[:0]
        if self._n_ranked < self._n:
            y = self.y
            known = max(k, len(self._best))
            pool = np.concatenate([self._best, np.arange(self._n_ranked, self._n)])
            values = y[pool]
            if len(pool) > known:
                # Equal values at the edge all stay, for the sort to keep the earliest of them.
                pool = pool[values <= np.partition(values, known - 1)[known - 1]]
            self._best = pool[np.argsort(y[pool], kind="stable")][:known]
            self._n_ranked = self._n
        return self._best[:k]

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


def weighed(archive: Archive, rng: np.random.Generator) -> tuple[Archive, dict[str, float]]:
    """Look at an archive as one proposal does: with several objectives through random weights.

    [Knowles] draws new weights for every proposal. So all of the front is searched for however few
    workers there are, and workers need not agree on who searches where.

    Parameters
    ----------
    archive : Archive
    rng : numpy.random.Generator
        The proposing process's own stream; nothing is drawn from it for a single objective.

    Returns
    -------
    archive : Archive
        Of one objective; to be read only.
    notes : dict
        The weights, by ``weight_<metric>``; empty for a single objective.

    References
    ----------
    .. [Knowles] See `rush_opt.search.scalarization.scalarize`.
    """
    if len(archive.metrics) == 1:
        return archive, {}
    weights = draw_weights(len(archive.metrics), rng)
    names = [f"weight_{metric}" for metric in archive.metrics]
    return archive.scalarized(weights), dict(zip(names, weights.tolist(), strict=True))


def _row_keys(X: RowArray) -> list[Any]:
    """Give each row's bytes, several times faster than row by row."""
    return X.view(np.dtype((np.void, X.shape[1] * X.itemsize))).ravel().tolist()


def _read_only(view: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view.flags.writeable = False
    return view
