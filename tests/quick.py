"""Which tests are quick: those that start no server and no process, and play no whole run.

Nobody marks tests by hand. A test is quick if neither its own code, nor that of its fixtures, nor
that of any function of the tests which these call, mentions a name that starts something.
`forbid_processes` makes a quick test fail that starts a process all the same.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest

# What starts a server or a process, or lasts as long as a run.
STARTERS = {
    *("serve", "EmbeddedServer", "resolve_url", "Network", "Worker", "Advisor"),
    *("subprocess", "Popen", "fork", "multiprocessing", "ProcessPoolExecutor", "LocalCluster"),
    *("tune", "simulate", "play", "RushSearchCV", "LimitedObjective"),
}

_START_EVENTS = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.system"}


def is_quick(item: pytest.Item) -> bool:
    """Tell whether a test, its fixtures and what they call mention no name of `STARTERS`."""
    if not isinstance(item, pytest.Function):
        return False
    definitions = item._fixtureinfo.name2fixturedefs.values()
    fixtures = [definition[-1].func for definition in definitions]
    seen: set[CodeType] = set()
    return not any(_mentions_starter(function, seen) for function in (item.obj, *fixtures))


def _mentions_starter(function: Callable[..., Any], seen: set[CodeType]) -> bool:
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, FunctionType) or function.__code__ in seen:
        return False
    seen.add(function.__code__)
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    if names & STARTERS:
        return True
    called = (function.__globals__.get(name) for name in names)
    return any(
        _mentions_starter(part, seen)
        for found in called
        if str(getattr(found, "__module__", "")).startswith("tests.")
        for part in (vars(found).values() if isinstance(found, type) else (found,))
        if isinstance(part, FunctionType)
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of the functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def forbid_processes() -> None:
    """From now on, starting a process from this one raises; there is no way back."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _START_EVENTS:
            raise AssertionError(
                f"a quick test starts a process ({event} {arguments[:1]}): add the name by which "
                "it does so to STARTERS in tests/quick.py"
            )

    sys.addaudithook(refuse)
