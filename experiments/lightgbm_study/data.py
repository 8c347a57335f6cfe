"""Data sets as arrays on disk: prepared once per machine, mapped by all of its workers.

=============  ==========  ======================================================================
array          shape       holds
=============  ==========  ======================================================================
``X``          ``(n, d)``  features, double precision: numbers, or a category's place among the
                           levels; NaN where the value is missing
``y``          ``(n,)``    classes, 0 and 1
``test_fold``  ``(n,)``    the fold in whose test part the row is
=============  ==========  ======================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_ARRAYS = ("X", "y", "test_fold")


class DataError(Exception):
    """A data set that is missing, altered or of another kind than the benchmark needs."""


@dataclass(frozen=True)
class Data:
    """A binary classification task with its folds.

    Parameters
    ----------
    X, y, test_fold : ndarray
        As in the table above.
    categorical : tuple of int
        Which columns of ``X`` are categories.
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.int8]
    test_fold: npt.NDArray[np.int8]
    categorical: tuple[int, ...]

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return int(self.test_fold.max()) + 1


class Source(Protocol):
    """Where a data set comes from: small, hashable, and shipped to the workers."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    def read(self) -> Data: ...  # noqa: D102
    def __hash__(self) -> int: ...


def load(source: Source) -> Data:
    """Map a data set into memory, prepared on this machine if it was not yet.

    Parameters
    ----------
    source : Source

    Returns
    -------
    Data
        Read-only arrays whose pages all processes of the machine share.

    Raises
    ------
    DataError
        If it is not prepared and its source cannot be read.

    Notes
    -----
    Processes that find nothing prepared at the same time all prepare it, each in a folder of its
    own; the first to give its folder the final name wins, and the others map that one.
    """
    folder = prepared_root() / f"{source.name}-{source.digest[:16]}"
    if not folder.exists():
        _prepare(source.read(), folder)
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS
    }
    categorical = json.loads((folder / "categorical.json").read_text())
    return Data(**arrays, categorical=tuple(categorical))


def prepared_root() -> Path:
    """Return the user's cache folder for prepared data sets."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "rush-lightgbm"


def _prepare(data: Data, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name in _ARRAYS:
            np.save(made / f"{name}.npy", getattr(data, name))
        (made / "categorical.json").write_text(json.dumps(data.categorical))
        try:
            made.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def binary_target(name: str, target: npt.NDArray[Any], levels: list[Any]) -> npt.NDArray[np.int8]:
    """Return 1 for the first level and 0 for the second.

    Raises
    ------
    DataError
        If the target has other values than two.
    """
    found = sorted(set(target.tolist()), key=str)
    if len(found) != 2 or set(found) != set(levels):
        raise DataError(
            f"{name} must have a target with two classes, found {len(found)}: {found[:5]}; the "
            "benchmark is binary classification: choose another data set"
        )
    return np.asarray(target == levels[0], dtype=np.int8)
