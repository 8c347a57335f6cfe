"""The machine and the versions with which a row of raw results was measured."""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RAW = ROOT / "results" / "raw"
TABLES = ROOT / "results" / "tables"

_PACKAGES = ("numpy", "scipy", "scikit-learn")


def provenance(root: Path = ROOT) -> dict[str, str]:
    """Describe commit, machine, versions and start time, for every row of a run.

    Parameters
    ----------
    root : Path
        The checkout whose commit is meant.

    Returns
    -------
    dict of str to str
        ``commit`` ends in ``+`` when files differ from it; ``started`` is UTC, ISO 8601; no host
        name and no path.
    """
    return {
        "commit": _commit(root),
        "machine": f"{platform.machine()} {_cpu_model()}",
        "python": platform.python_version(),
        **{package.replace("-", "_"): _version(package) for package in _PACKAGES},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, which keeps its columns.

    Parameters
    ----------
    path : Path
        The file; made with a header if it does not exist.
    rows : sequence of mappings
        Column name to value; all with the same names.

    Raises
    ------
    ValueError
        If the rows have other columns than the file.
    """
    if not rows:
        return
    names = list(rows[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    if not is_new:
        with path.open(newline="") as file:
            found = next(csv.reader(file))
        if found != names:
            raise ValueError(
                f"{path.name} needs rows with the columns {found}, got {names}; "
                "nothing is overwritten: choose another file"
            )
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, names)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _commit(root: Path) -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD") or "none"
    return commit + ("+" if git("status", "--porcelain", "--", "*.py", "*.lua") else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")
