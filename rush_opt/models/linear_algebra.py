"""LAPACK, and the limit of its threads to one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["lapack", "one_thread"]

# The limit holds for the whole process. If two threads of a process set it at overlapping times,
# the second would save the limit of the first as the original value, and restore it at the end.
_limiting = threading.Lock()


@functools.cache
def lapack() -> Any:
    """Import `scipy.linalg.lapack` at its first use, because the import is slow."""
    from scipy.linalg import lapack

    return lapack


@contextmanager
def one_thread() -> Iterator[None]:
    """Run linear algebra on one thread: every worker has one core, and its matrices are small."""
    with _limiting, _blas().limit(limits=1):
        yield


@functools.cache
def _blas() -> Any:
    lapack()  # the controller finds only the libraries that are loaded before it is made
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
