"""The paper's four OpenML tasks, through the `openml` package and its cache.

`download` fetches everything into the cache; a run reads the cache only, so that compute nodes need
no internet. Target, features and folds are the task's own.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.lightgbm_study.data import Data, DataError, binary_target

# Name of the data set on OpenML: task, data set.
TASKS = {
    "credit-g": (31, 31),
    "KDDCup09_appetency": (3945, 1111),
    "adult": (7592, 1590),
    "airlines": (189354, 1169),
}


@dataclass(frozen=True)
class OpenMLSource:
    """A task in an OpenML cache.

    Parameters
    ----------
    cache : str
        The cache's root folder, absolute.
    name : str
        A key of `TASKS`.
    digest : str
        SHA-256 of the cached data and splits.
    """

    cache: str
    name: str
    digest: str

    def read(self) -> Data:
        """Read the task; raises `DataError` if it is not what the benchmark needs."""
        openml = _openml(Path(self.cache))
        with _files_left_open():
            task = openml.tasks.get_task(TASKS[self.name][0], download_splits=True)
            return task_data(self.name, task)


def download(name: str, cache: Path) -> OpenMLSource:
    """Fetch a task, its data and its splits into the cache, as far as they are not there.

    Raises
    ------
    DataError
        If there is no such task, or the server does not give it.
    """
    openml = _openml(cache)
    _check_name(name)
    try:
        with _files_left_open():
            openml.tasks.get_task(
                TASKS[name][0],
                download_splits=True,
                download_data=True,
                download_features_meta_data=True,
            )
    except (OSError, openml.exceptions.PyOpenMLError) as error:
        raise DataError(
            f"cannot fetch {name} from OpenML: {error}; try again where there is internet, or give "
            "a local folder as --data-dir"
        ) from error
    return find(name, cache)


def find(name: str, cache: Path) -> OpenMLSource:
    """Find a task in a cache, without internet.

    Raises
    ------
    DataError
        If there is no such task, or it was not downloaded.
    """
    _check_name(name)
    root = Path(_openml(cache).config.get_cache_directory())
    task_id, data_id = TASKS[name]
    task, data = root / "tasks" / str(task_id), root / "datasets" / str(data_id)
    tables = [data / f"dataset_{data_id}.pq", data / "dataset.arff"]
    table = next((path for path in tables if path.exists()), tables[1])
    needed = [task / "task.xml", task / "datasplits.arff"]
    needed += [data / "description.xml", data / "features.xml", table]
    missing = [str(path.relative_to(root)) for path in needed if not path.exists()]
    if missing:
        raise DataError(
            f"OpenML task {task_id} ({name}) is not in the cache {cache}: {', '.join(missing)} "
            f"missing. Run `python experiments/lightgbm_bench.py download --dataset {name}` where "
            "there is internet, or give a local folder as --data-dir"
        )
    digest = hashlib.sha256()
    for path in (task / "datasplits.arff", table):
        digest.update(path.read_bytes())
    return OpenMLSource(str(cache.resolve()), name, digest.hexdigest())


def task_data(name: str, task: Any) -> Data:
    """Make arrays of an OpenML task.

    Parameters
    ----------
    name : str
        For error messages.
    task : openml.tasks.OpenMLClassificationTask

    Raises
    ------
    DataError
        If it has no binary target, or its splits are not one round of cross-validation.
    """
    frame, target, categorical, _ = task.get_dataset().get_data(target=task.target_name)
    labels = task.class_labels or sorted(target.dropna().unique(), key=str)
    y = binary_target(name, target.astype(str).to_numpy(), [str(label) for label in labels])
    is_category = [
        marked or not _is_number(column)
        for marked, (_, column) in zip(categorical, frame.items(), strict=True)
    ]
    columns = [
        _codes(column) if category else column.to_numpy(dtype=np.float64, na_value=np.nan)
        for category, (_, column) in zip(is_category, frame.items(), strict=True)
    ]
    places = tuple(int(i) for i in np.flatnonzero(is_category))
    return Data(np.column_stack(columns), y, _test_folds(name, task, len(y)), places)


def _test_folds(name: str, task: Any, n_rows: int) -> npt.NDArray[np.int8]:
    repeats, n_folds, samples = task.get_split_dimensions()
    folds = np.full(n_rows, -1, dtype=np.int8)
    for fold in range(n_folds):
        _, test = task.get_train_test_split_indices(fold=fold)
        folds[test] = fold
    if repeats != 1 or samples != 1 or folds.min() < 0:
        raise DataError(
            f"{name} must be split by one round of cross-validation, found {repeats} repeats, "
            f"{samples} samples and {(folds < 0).sum()} rows in no test part; use another task"
        )
    return folds


def _is_number(column: Any) -> bool:
    return column.dtype.kind in "iuf"


def _codes(column: Any) -> npt.NDArray[np.float64]:
    codes = column.astype("category").cat.codes.to_numpy().astype(np.float64)
    codes[codes < 0] = np.nan
    return np.asarray(codes)


def _check_name(name: str) -> None:
    if name not in TASKS:
        raise DataError(
            f"{name!r} is none of the benchmark's OpenML data sets {sorted(TASKS)}; name one of "
            "these, or give the folder that has it as --data-dir"
        )


@contextmanager
def _files_left_open() -> Iterator[None]:
    """Keep the package's reader of splits from warning that it does not close its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def _openml(cache: Path) -> Any:
    try:
        import openml
    except ModuleNotFoundError:
        raise DataError(
            "OpenML tasks need the openml package: pip install '.[bench]', or give a local folder "
            "as --data-dir"
        ) from None
    openml.config.set_root_cache_directory(str(cache))
    return openml
