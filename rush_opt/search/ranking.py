"""The smallest losses of a list that only grows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Ranking"]


class Ranking:
    """Finds the smallest losses of a list that only grows; each call reads only the new losses."""

    def __init__(self) -> None:
        self._best = np.empty(0, dtype=np.intp)
        self._n_ranked = 0

    def best(self, y: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.intp]:
        """Find the smallest losses.

        Parameters
        ----------
        y : ndarray of shape (n,)
            All losses: first those of the last call, then new ones.
        k : int
            Number of losses to find, ``>= 1``. If it is larger than in all calls before, all losses
            are ranked again.

        Returns
        -------
        ndarray of int, shape (min(k, n),)
            Indices, smallest loss first; of equal losses, the earlier first.
        """
        if k > len(self._best):
            self._n_ranked = 0
            self._best = self._best[:0]
        if self._n_ranked < len(y):
            n_kept = max(k, len(self._best))
            pool = np.concatenate([self._best, np.arange(self._n_ranked, len(y))])
            losses = y[pool]
            if len(pool) > n_kept:
                # Keep all that equal the last kept loss, so that the sort can prefer the earliest.
                pool = pool[losses <= np.partition(losses, n_kept - 1)[n_kept - 1]]
            self._best = pool[np.argsort(y[pool], kind="stable")][:n_kept]
            self._n_ranked = len(y)
        return self._best[:k]
