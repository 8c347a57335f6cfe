"""Data sets from a local folder: `NAME.csv.gz` beside a `datasets.json` that describes them.

`datasets.json` has a mapping ``datasets`` of names to ``file``, ``rows``, ``target`` and
``categorical`` (names of columns, all others are numbers), ``target_levels``, ``levels`` (of
categorical columns; sorted where they are not given) and, where known, ``sha256`` of the file. What
else it says is for people. The files are UTF-8 CSV with a header row; an empty field is a missing
value.

The folds are drawn here, stratified and with a fixed seed: such a folder has no split of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.lightgbm_study.data import Data, DataError, binary_target

N_FOLDS = 10
_SPLIT_SEED = 1

_NEEDED = ("file", "rows", "target", "target_levels", "categorical")
_FORMAT = "the format is in experiments/lightgbm_study/README.md"

# Of the files that this benchmark was run on. Only credit-g and adult are the OpenML data sets;
# the others have names of their own, and their results are never reported under another one.
KNOWN_SHA256 = {
    "credit-g": "584993877329142e1150e2c142888cfa16f653fab34b77d63c10ae82774c5a17",
    "adult": "ac09585bcc1e0d2832d5c8335d2270bf2b97f8a8e0b54d89b95952b874ced8a8",
    "airlines-5pct": "5ade1d6270198ce1e910f76ff8095f19e6cc5406fbc2b2f942fd1c1945e6e725",
    "nycflights13-delay": "c4f06e0d5081c302dedb4b18bffbc3284dae609ddcc80b9aae95f9a7473183f4",
    "diabetes130-readmission": "c25242b0f29f6e50c3f1bfed98d2d1eb065274990f59779e79bb78f65e0e20da",
    "nomao": "465d6e6343dc6c1cc21762bc7ef3db11c4766276e0ceea959ba6f03c83e2b6c8",
}


@dataclass(frozen=True)
class FolderSource:
    """A data set of a local folder.

    Parameters
    ----------
    folder : str
        Absolute.
    name : str
    digest : str
        SHA-256 of the data file.
    """

    folder: str
    name: str
    digest: str

    def read(self) -> Data:
        """Read the file; raises `DataError` if it is not what `datasets.json` says."""
        described = _describe(Path(self.folder), self.name)
        frame = _read_csv(Path(self.folder) / described["file"], described)
        unknown = {described["target"], *described["categorical"]} - set(frame)
        if unknown:
            raise DataError(
                f"{described['file']} must have the columns that datasets.json names, without "
                f"{sorted(unknown)} among its {list(frame)}; correct one of both"
            )
        if len(frame) != described["rows"]:
            raise DataError(
                f"{self.name} must have {described['rows']} rows, found {len(frame)}; "
                "get its file again"
            )
        target = frame.pop(described["target"]).to_numpy()
        y = binary_target(self.name, target, described["target_levels"])
        levels = described.get("levels", {})
        categorical = tuple(frame.columns.get_loc(name) for name in described["categorical"])
        X = np.column_stack(
            [
                _codes(frame[name], levels.get(name)) if i in categorical else frame[name]
                for i, name in enumerate(frame.columns)
            ]
        ).astype(np.float64)
        return Data(X, y, _stratified_folds(y), categorical)


def find(folder: Path, name: str) -> FolderSource:
    """Find a data set in a folder.

    Raises
    ------
    DataError
        If it is not there, or its file was altered.
    """
    described = _describe(folder, name)
    path = folder / described["file"]
    if not path.exists():
        raise DataError(f"{path} is missing, though datasets.json of that folder describes it")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = described.get("sha256") or KNOWN_SHA256.get(name, found)
    if found != expected:
        raise DataError(
            f"{path} must have the SHA-256 {expected[:16]}..., found {found[:16]}...; it was "
            "altered or is another data set: get it again, or give it a name of its own"
        )
    return FolderSource(str(folder.resolve()), name, found)


def _describe(folder: Path, name: str) -> dict[str, Any]:
    """Return what `datasets.json` says of a data set, with all that is needed."""
    sets = _read_descriptions(folder / "datasets.json")
    if name not in sets:
        there = [
            f"{known} ({entry['note']})" if "note" in entry else known
            for known, entry in sets.items()
        ]
        raise DataError(
            f"{name} is not in {folder}, which has {', '.join(there)}; name one of these, "
            "or leave --data-dir out to use the OpenML task. A stand-in keeps its own name"
        )
    missing = [key for key in _NEEDED if key not in sets[name]]
    if missing:
        raise DataError(
            f"datasets.json of {folder} must give {', '.join(_NEEDED)} of {name}, without "
            f"{', '.join(missing)}; {_FORMAT}"
        )
    return sets[name]


def _read_descriptions(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        raise DataError(
            f"{path.parent} must have a datasets.json that describes its files; {_FORMAT}"
        )
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} must be JSON: {error}; {_FORMAT}") from None
    sets = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(sets, dict) or not all(isinstance(entry, dict) for entry in sets.values()):
        raise DataError(
            f"{path} must have a mapping 'datasets' of names to descriptions, found "
            f"{content!r:.80}; {_FORMAT}"
        )
    return sets


def _read_csv(path: Path, described: dict[str, Any]) -> Any:
    import pandas as pd  # a third of a second, only for whoever prepares the data

    texts = [*described["categorical"], described["target"]]
    # "None" is a category in one file: only an empty field is missing.
    return pd.read_csv(
        path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(texts, "object")
    )


def _codes(column: Any, levels: list[str] | None) -> npt.NDArray[np.float64]:
    """Return each value's place among the levels; NaN where it is missing."""
    import pandas as pd

    if levels is None:
        levels = sorted(column.dropna().unique())
    unknown = set(column.dropna()) - set(levels)
    if unknown:
        raise DataError(
            f"column {column.name} has the values {sorted(unknown)[:5]}, which datasets.json does "
            "not list as its levels; one of both was altered"
        )
    codes = pd.Categorical(column, categories=levels).codes.astype(np.float64)
    codes[codes < 0] = np.nan
    return np.asarray(codes)


def _stratified_folds(y: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.bincount(y).min())
    if smallest < N_FOLDS:
        raise DataError(
            f"{N_FOLDS} stratified folds need {N_FOLDS} rows of each class, found {smallest}; "
            "choose a larger data set"
        )
    folds = np.empty(len(y), dtype=np.int8)
    splitter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=_SPLIT_SEED)
    for fold, (_, test) in enumerate(splitter.split(np.zeros(len(y)), y)):
        folds[test] = fold
    return folds
