"""Where the code of an objective is written: file and line in the tracebacks of its trials.

The functions of a script or of a notebook are sent to workers without the name of their file. The
workers complete their tracebacks with what is collected here.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

__all__ = ["CodeSource", "code_digest", "find_sources", "readable_traceback"]

# More functions than this are not searched.
_MOST = 1000

# The name of a file in which cloudpickle puts all code that it sends by value.
_SENT = "<dynamic-code>"
_SENT_FRAME = re.compile(rf'File "{_SENT}", line (\d+), in (\S+)')

# A frame of this package between the worker loop and the objective, with its source lines.
_PACKAGE = re.escape(str(Path(__file__).parents[1]))
_OWN_FRAME = re.compile(
    rf'  File "{_PACKAGE}/(?:evaluation|running)/[^"\n]*", line \d+, in .*\n(?:    .*\n)*'
)


@dataclass(frozen=True)
class CodeSource:
    """Where one function is written.

    Attributes
    ----------
    name : str
    first, last : int
        Its lines.
    file : str
        The name of its file, or of its cell in a notebook.
    """

    name: str
    first: int
    last: int
    file: str


def find_sources(objective: object) -> tuple[CodeSource, ...]:
    """Return where an objective is written, and the functions of its module that it uses."""
    codes: dict[CodeType, None] = {}
    waiting: list[Any] = [objective]
    while waiting and len(codes) < _MOST:
        for code, further in _parts(waiting.pop()):
            if code not in codes:
                codes[code] = None
                waiting += further
    return tuple(
        CodeSource(
            code.co_name, code.co_firstlineno, _last_line(code), _shown_file(code.co_filename)
        )
        for code in codes
    )


def code_digest(objective: object) -> str | None:
    """Return a digest of an objective's own code; None if it has none that can be seen.

    It is the same in every process with the same version of Python, and does not depend on the
    functions that the objective calls, or on the values that it closes over.
    """
    parts = [code for code, _ in _parts(objective)]
    if not parts:
        return None
    digest = hashlib.sha256(sys.version.encode())
    for code in (inner for part in parts for inner in _nested(part)):
        plain = [const for const in code.co_consts if not isinstance(const, CodeType | frozenset)]
        digest.update(repr((code.co_code, code.co_names, plain)).encode(errors="replace"))
    return digest.hexdigest()


def readable_traceback(text: str, sources: tuple[CodeSource, ...]) -> str:
    """Return the traceback of a trial with the files of its functions, without our own frames.

    Parameters
    ----------
    text : str
        What `rush_opt.evaluation.limited_process.trial_error` returned.
    sources : tuple of CodeSource
        Of the objective.
    """

    def named(match: re.Match[str]) -> str:
        line, name = int(match[1]), match[2]
        for source in sources:
            if source.name == name and source.first <= line <= source.last:
                return match[0].replace(_SENT, source.file)
        return match[0]

    return _SENT_FRAME.sub(named, _OWN_FRAME.sub("", text))


def _parts(value: Any) -> Iterator[tuple[CodeType, list[Any]]]:
    """Yield the code of a function or class, with the functions and classes that it uses."""
    if isinstance(value, functools.partial):
        yield from _parts(value.func)
        return
    if isinstance(value, CodeType):
        yield value, [part for part in value.co_consts if isinstance(part, CodeType)]
        return
    function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
    if isinstance(function, FunctionType):
        code = function.__code__
        names = [name for part in _nested(code) for name in part.co_names]
        used = [function.__globals__[name] for name in names if name in function.__globals__]
        used += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        yield code, [*_nested(code), *(part for part in used if _is_here(part, function))]
        return
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__ == "__main__":
        for method in vars(kind).values():
            if isinstance(method, FunctionType):
                yield from _parts(method)


def _nested(code: CodeType) -> list[CodeType]:
    """Return a code object, and all that are defined in it."""
    found = [code]
    for part in found:
        found += [inner for inner in part.co_consts if isinstance(inner, CodeType)]
    return found


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # the variable has no value yet
        return False


def _is_here(part: Any, function: FunctionType) -> bool:
    """Tell whether a value belongs to the module of a function, so that it is sent with it."""
    return getattr(part, "__module__", None) == function.__module__ and (
        callable(part) or isinstance(part, type)
    )


def _last_line(code: CodeType) -> int:
    return max((line for _, _, line in code.co_lines() if line), default=code.co_firstlineno)


def _shown_file(file: str) -> str:
    """Return the name of a file; of a cell of a notebook, the number that the notebook shows."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    name_code = getattr(getattr(shell, "compile", None), "format_code_name", None)
    named = name_code(file) if name_code is not None else None
    return " ".join(named) if named else file
