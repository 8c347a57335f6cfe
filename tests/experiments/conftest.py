"""Small data sets in the local folder's format."""

import json
from pathlib import Path

import pytest

from tests.experiments.toy_data import ROWS, toy_frame


@pytest.fixture(autouse=True)
def _prepared_data_in_a_folder_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with one small data set, `toy`."""
    folder = tmp_path / "data"
    folder.mkdir()
    toy_frame().to_csv(folder / "toy.csv.gz", index=False)
    described = {
        "file": "toy.csv.gz",
        "target": "answer",
        "numeric": ["size"],
        "categorical": ["colour"],
        "levels": {"colour": ["red", "green", "None"]},
        "target_levels": ["yes", "no"],
        "rows": ROWS,
        "note": "a toy",
    }
    (folder / "datasets.json").write_text(json.dumps({"datasets": {"toy": described}}))
    return folder
