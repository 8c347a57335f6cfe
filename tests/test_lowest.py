"""The lowest versions that pyproject.toml allows, as CI installs them."""

import runpy
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "lowest.py"
lowest_versions: Callable[[str], Iterable[str]] = runpy.run_path(str(SCRIPT))["lowest_versions"]


def test_each_lower_bound_is_a_pin_and_markers_stay() -> None:
    pins = lowest_versions(
        """
        [project]
        dependencies = ["b>=1.2", "c>=9; sys_platform == 'linux'"]
        [project.optional-dependencies]
        extra = ["A>=3.0", "b>=1.2"]
        test = ["tool>=1"]
        """
    )
    assert list(pins) == ["A==3.0", "b==1.2", "c==9; sys_platform == 'linux'"]


def test_a_dependency_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="needs one lower bound, name>=version, got 'b'"):
        list(lowest_versions("[project]\ndependencies = ['b']\n[project.optional-dependencies]\n"))


def test_every_dependency_of_the_project_has_a_lower_bound() -> None:
    pins = list(lowest_versions((SCRIPT.parents[1] / "pyproject.toml").read_text()))
    assert len(pins) > 15
