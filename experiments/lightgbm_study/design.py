"""The initial design of a (data set, replication): drawn, evaluated once, shared by all strategies.

Its rows stand in ``designs/DATASET-rN.csv`` of the results folder, one per point, and are appended
as they are evaluated: an evaluation that was interrupted goes on with the points that are missing.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lightgbm_study.data import Source
from experiments.lightgbm_study.objective import CrossValidation
from experiments.provenance import append_rows, provenance
from experiments.spaces import LIGHTGBM
from rush_core import WorkersFailedError
from rush_opt import FrozenTrial, tune
from rush_opt.search.design import random_design
from rush_opt.space import Space

_DESIGN, _RUN = 0, 1


class ConfigurationError(Exception):
    """Results that were made another way than what is asked for, or are not complete."""


@dataclass(frozen=True)
class Design:
    """The random points of a (data set, replication).

    Parameters
    ----------
    source : Source
    replication : int
        From 1.
    size : int
    seed : int
        The benchmark's.
    """

    source: Source
    replication: int
    size: int
    seed: int

    def points(self) -> list[dict[str, Any]]:
        """Draw the configurations."""
        rng = np.random.default_rng(self._seeds(_DESIGN))
        space = Space(LIGHTGBM)
        return space.decode(random_design(space, self.size, rng))

    def run_seed(self) -> int:
        """Return the seed of every strategy's run from this design."""
        return int(self._seeds(_RUN).generate_state(1, np.uint64)[0])

    def path(self, out: Path) -> Path:
        """Return the file of its rows in a results folder."""
        return out / "designs" / f"{self.source.name}-r{self.replication}.csv"

    def _seeds(self, purpose: int) -> np.random.SeedSequence:
        key = (zlib.crc32(self.source.name.encode()), self.replication, purpose)
        return np.random.SeedSequence(self.seed, spawn_key=key)


def evaluate_design(
    design: Design, out: Path, *, n_workers: int, launcher: Mapping[str, Any], url: str | None
) -> int:
    """Evaluate the points that have no row yet.

    Parameters
    ----------
    design : Design
    out : Path
        Results folder.
    n_workers : int
    launcher : mapping
        Arguments of `tune` that say where workers run.
    url : str or None
        The server.

    Returns
    -------
    int
        How many points were evaluated.

    Raises
    ------
    ConfigurationError
        If the folder has rows of another design.
    WorkersFailedError
        If points were lost with their workers.
    """
    points = design.points()
    done = _read_rows(design, out, points)
    missing = [i for i in range(design.size) if i not in done]
    if not missing:
        return 0
    places = {_identity(points[i]): i for i in missing}
    common = {
        "seed": design.seed,
        "size": design.size,
        "data": design.source.digest[:16],
        "lightgbm": version("lightgbm"),
        **provenance(),
    }

    def keep(trial: FrozenTrial) -> None:
        place = places.get(_identity(trial.params))
        if place is not None and not trial.lost:  # else its worker was lost: it is evaluated again
            append_rows(design.path(out), [{**_row(place, trial), **common}])

    result = tune(
        CrossValidation(design.source),
        LIGHTGBM,
        n_workers=min(n_workers, len(missing)),
        n_trials=len(missing),
        optimizer="random",
        metric="error",
        seed=design.run_seed(),
        url=url,
        initial_design=[points[i] for i in missing],
        callbacks=(keep,),
        **launcher,
    )
    if result.stop_reason == "interrupted":
        raise KeyboardInterrupt
    lost = sorted(set(missing) - set(_read_rows(design, out, points)))
    if lost:
        raise WorkersFailedError(
            f"points of {design.source.name} r{design.replication} were lost with their workers, "
            f"{len(lost)} of {len(missing)}: {lost[:10]}; see why these ended, and run the same "
            "command again"
        )
    return len(missing)


def read_design(design: Design, out: Path) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """Return the evaluated points, for `tune(warm_start=...)`; failed ones are left out.

    Raises
    ------
    ConfigurationError
        If points have no row yet, or the rows are of another design.
    """
    points = design.points()
    rows = _read_rows(design, out, points)
    if len(rows) < design.size:
        raise ConfigurationError(
            f"a run of {design.source.name} starts from {design.size} evaluated points, found "
            f"{len(rows)} in {design.path(out)}; run the `design` command with the same options"
        )
    return [
        (points[place], {name: row[name] for name in ("error", "num_iterations")})
        for place, row in sorted(rows.items())
        if not row["failure"]
    ]


def _row(place: int, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "point": place,
        **trial.params,
        "error": "" if trial.value is None else trial.value,
        "num_iterations": trial.result.get("num_iterations", ""),
        "seconds": trial.notes.get("objective_s", ""),
        "cpu_s": trial.notes.get("cpu_s", ""),
        "worker": trial.worker,
        "failure": (trial.error or "").splitlines()[-1] if trial.error else "",
    }


def _read_rows(
    design: Design, out: Path, points: Sequence[Mapping[str, Any]]
) -> dict[int, dict[str, Any]]:
    """Read the first row of each point, and make sure that they are of this design."""
    path = design.path(out)
    if not path.exists():
        return {}
    text = path.read_text()
    if not text.endswith("\n"):
        raise ConfigurationError(
            f"the last line of {path} is cut, because writing it was interrupted; delete that "
            "line, and run the `design` command with the same options"
        )
    found = list(csv.DictReader(io.StringIO(text)))
    expected = {
        "seed": str(design.seed),
        "size": str(design.size),
        "data": design.source.digest[:16],
    }
    rows: dict[int, dict[str, Any]] = {}
    for row in found:
        for name, value in expected.items():
            if row[name] != value:
                raise ConfigurationError(
                    f"{path} was made with {name} {row[name]}, now it is {value}; use the same "
                    "options, or another --out folder"
                )
        place = int(row["point"])
        drawn = {name: str(value) for name, value in points[place].items()}
        if drawn != {name: row[name] for name in drawn}:
            raise ConfigurationError(
                f"point {place} of {path} is not the one that this seed draws: the file was "
                "altered, or made by another version; use another --out folder"
            )
        numbers = {} if row["failure"] else {n: float(row[n]) for n in ("error", "num_iterations")}
        rows.setdefault(place, {"failure": row["failure"], **numbers})
    return rows


def _identity(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(config[name] for name in LIGHTGBM)
