"""Whether this process may be forked, after the modules of a worker loop were imported.

A forked child has only the thread that forked it. A lock that another thread held stays locked in
the child, and a connection to a GPU cannot be used there.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

__all__ = ["reason_not_to_fork"]

_THREADS = Path("/proc/self/task")


def reason_not_to_fork() -> str | None:
    """Return what an import has left that would be missing or broken in a child; None if safe."""
    try:
        n_threads = len(os.listdir(_THREADS))
    except OSError as error:
        return f"the threads of this process cannot be counted: {error}"
    if n_threads > 1:
        names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        named = f", among them {', '.join(names[:3])}" if names else ""
        return f"importing the worker loop started threads ({n_threads - 1}{named})"
    if _has_child():
        return "importing the worker loop started a process"
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return "importing the worker loop initialized CUDA"
    return None


def _has_child() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
