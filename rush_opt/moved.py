"""Old names of modules: they can be imported for one more release, with a warning.

When a module moves, add it to `MOVED`; nothing else changes. A name that is imported from an old
module is looked up in its new modules, in their order.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "install"]

# Old module to its new modules. All names are relative to this package.
MOVED: dict[str, tuple[str, ...]] = {
    "acquisition": ("search.acquisition", "search.exploration"),
    "archive": ("search.archive", "search.scalarization"),
    "curves": ("stopping.curves",),
    "cv_results": ("sklearn.cv_results",),
    "descent": ("models.bfgs",),
    "design": ("search.design", "search.grid"),
    "ended_trials": ("running.history",),
    "ending": ("running.end_of_run",),
    "estimate": ("results.estimate",),
    "frozen_trial": ("results.trials", "results.table"),
    "gaussian_process": (
        "models.gaussian_process",
        "models.process_then_trees",
        "models.targets",
    ),
    "incumbent": ("stopping.incumbent",),
    "limits": ("evaluation.limits", "evaluation.evaluation_process"),
    "loops": ("optimizers",),
    "pareto": ("results.pareto",),
    "plots": ("results.plots",),
    "progress": ("running.progress",),
    "proposal": ("search.candidates", "search.moves"),
    "pruning": ("stopping.trial_rules",),
    "result": ("results.result",),
    "result_file": ("results.files",),
    "scalarization": ("search.scalarization",),
    "surrogate": ("models.surrogate", "models.forest", "models.targets", "models.trees"),
    "trial": ("evaluation.trial",),
    "utilization": ("results.utilization",),
    "warm_start": ("arguments.warm_start",),
}


class _OldModule(Loader):
    """Makes a module that has the names of the new modules."""

    def __init__(self, new_modules: Sequence[str]) -> None:
        self._new_modules = new_modules

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let Python make an empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Let the module look up its names in the new modules."""

        def look_up(name: str) -> Any:
            for new in map(import_module, self._new_modules):
                if hasattr(new, name):
                    return getattr(new, name)
            raise AttributeError(
                f"{module.__name__} has moved to {', '.join(self._new_modules)}, which have no "
                f"{name!r}"
            )

        module.__getattr__ = look_up  # type: ignore[method-assign]


class _Finder(MetaPathFinder):
    """Finds old modules, and warns."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Return the loader of an old module; None for every other module."""
        package, _, name = fullname.partition(".")
        if package != "rush_opt" or name not in MOVED:
            return None
        new_modules = [f"{package}.{new}" for new in MOVED[name]]
        warnings.warn(
            f"{fullname} has moved to {' and '.join(new_modules)}; the old name will be removed in "
            "the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return ModuleSpec(fullname, _OldModule(new_modules))


def install() -> None:
    """Make the old module names importable."""
    sys.meta_path.append(_Finder())
