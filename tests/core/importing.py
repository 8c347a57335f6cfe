"""Worker loops whose unpickling imports a module that a test has written."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

__all__ = ["Importing", "Module", "count_imports", "write_module"]


class Importing:
    """Arrives in a worker as the module of this name; the manager does not import it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self._name,)


def write_module(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str = "study"
) -> Importing:
    """Write a module that workers can import; return an argument for their loop.

    Each import of the module leaves a file in `folder`, see `count_imports`.
    """
    note = f"import os, pathlib\npathlib.Path({str(folder)!r}, f'import-{{os.getpid()}}').touch()\n"
    (folder / f"{name}.py").write_text(note + source)
    monkeypatch.syspath_prepend(str(folder))
    return Importing(name)


def count_imports(folder: Path) -> int:
    """Return how many processes have imported a module that `write_module` has written."""
    return len(list(folder.glob("import-*")))


Module = ModuleType | Importing
