"""Pending points: the points of queued and running trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from rush_core import Task
from rush_opt.arrays import RowArray
from rush_opt.space import Space

__all__ = ["Pending"]


class Pending:
    """The points of trials whose results are not known yet.

    Parameters
    ----------
    space : Space
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rows: dict[str, bytes] = {}

    def __len__(self) -> int:
        """Count the points."""
        return len(self._rows)

    def __contains__(self, row: object) -> bool:
        """Return whether a snapped row is pending; rows are compared in single precision."""
        return np.asarray(row, dtype=np.float32).tobytes() in self._rows.values()

    @property
    def X(self) -> RowArray:  # noqa: N802  # the field's name for rows of features
        """Snapped rows of the unit cube, shape (n, n_dims)."""
        flat = np.frombuffer(b"".join(self._rows.values()), dtype=np.float32)
        return flat.reshape(len(self), self._space.n_dims)

    def add(self, key: str, config: dict[str, Any]) -> None:
        """Add the point of a task."""
        self._rows[key] = self._space.encode([config]).astype(np.float32).tobytes()

    def remove(self, key: str) -> None:
        """Remove the point of a task that has ended."""
        del self._rows[key]

    def replace(self, tasks: Iterable[Task]) -> None:
        """Replace all points by those of these tasks."""
        known, self._rows = self._rows, {}
        for task in tasks:
            if task.key in known:
                self._rows[task.key] = known[task.key]
            else:
                self.add(task.key, task.config)

    def copy(self) -> Self:
        """Return a copy; adding points to it does not change this object."""
        copied = type(self)(self._space)
        copied._rows = dict(self._rows)
        return copied
