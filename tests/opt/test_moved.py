"""Old names of modules can still be imported, with a warning."""

import importlib
import sys
from collections.abc import Iterator

import pytest

import rush_opt
from rush_opt.moved import MOVED


@pytest.fixture(autouse=True)
def forget_old_modules() -> Iterator[None]:
    """Import old modules anew in each test, and leave none behind."""

    def forget() -> None:
        for name in MOVED:
            sys.modules.pop(f"rush_opt.{name}", None)
            vars(rush_opt).pop(name, None)

    forget()
    yield
    forget()


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_module_warns_and_has_the_names_of_the_new_ones(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"rush_opt.{old} has moved to rush_opt"):
        module = importlib.import_module(f"rush_opt.{old}")
    for new in MOVED[old]:
        found = importlib.import_module(f"rush_opt.{new}")
        for name in getattr(found, "__all__", []):
            assert getattr(module, name) is not None


def test_a_name_is_imported_from_its_new_module() -> None:
    with pytest.warns(DeprecationWarning, match="models.process_then_trees"):
        from rush_opt.gaussian_process import ProcessThenTrees  # type: ignore[import-not-found]
    assert ProcessThenTrees is rush_opt.ProcessThenTrees


def test_a_name_that_never_existed_is_refused() -> None:
    with pytest.warns(DeprecationWarning, match="has moved"):
        module = importlib.import_module("rush_opt.trial")
    with pytest.raises(AttributeError, match=r"moved to rush_opt.evaluation.trial, which have no"):
        _ = module.nothing_like_this


def test_a_module_that_never_existed_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("rush_opt.nothing_like_this")
