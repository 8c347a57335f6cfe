"""Objectives that use up memory, or print without measure."""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing import shared_memory
from typing import Any

import psutil

from experiments.hostile_objectives.case import FINE, MANY, Case, Outcome, doing, fails

__all__ = ["MEMORY", "OUTPUT"]

# Above the limit of the runs with limits.
LARGE = 700 * 10**6

# Without limits, an objective that takes all it can get must not take the machine's.
_HEADROOM = 400 * 10**6

_BEYOND = "more than trial_memory|MemoryError"


def bounded(take: Callable[[], object]) -> Callable[[], object]:
    """Return a procedure that takes memory from an address space with a limit."""

    def act() -> object:
        before = resource.getrlimit(resource.RLIMIT_AS)
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + _HEADROOM, before[1]))
        try:
            return take()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    return act


def take_list() -> None:
    held = [bytearray(b"x" * 10**7) for _ in range(LARGE // 10**7)]
    time.sleep(1.0 + 0 * len(held))


def take_at_once() -> None:
    time.sleep(1.0 + 0 * len(bytearray(b"x") * LARGE))


def double() -> None:
    text = "x" * 10**6
    while True:
        text += text


def take_array() -> None:
    import numpy as np

    held = np.ones(LARGE // 8)
    time.sleep(1.0 + 0 * held[0])


def take_mapping() -> None:
    held = mmap.mmap(-1, LARGE)
    for begin in range(0, LARGE, mmap.PAGESIZE):
        held[begin] = 1
    time.sleep(1.0)


def take_small_parts() -> None:
    held = [{i: [i]} for i in range(1_500_000)]
    time.sleep(1.0 + 0 * len(held))


def take_in_cycles() -> None:
    first: list[Any] = []
    for _ in range(LARGE // 10**7):
        part: list[Any] = [bytearray(b"x" * 10**7)]
        part.append(part)
        first.append(part)
    time.sleep(1.0)


def take_in_child() -> None:
    code = f"import time; held = bytearray(b'x') * {LARGE}; time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], check=True)


def take_in_foreign_code() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    if (held := library.malloc(LARGE)) is None:
        raise MemoryError("malloc")
    ctypes.memset(held, 1, LARGE)
    time.sleep(1.0)


def leave_little() -> None:
    """Leave the process with a limit of memory a little above what it uses."""
    used = psutil.Process().memory_info().vms
    resource.setrlimit(
        resource.RLIMIT_AS, (used + 10**8, resource.getrlimit(resource.RLIMIT_AS)[1])
    )


def leave_shared_memory() -> None:
    shared_memory.SharedMemory(create=True, size=10**6).close()


def _taking(take: Callable[[], object], *, elsewhere: bool = False) -> Case:
    """Return a case that takes memory in this process, or elsewhere, within bounds."""
    if elsewhere:
        return doing(take, (Outcome("finished"), Outcome("failed", _BEYOND)))
    return doing(bounded(take), fails(_BEYOND))


MEMORY: dict[str, Case] = {
    "many large parts": _taking(take_list),
    "one large part": _taking(take_at_once),
    "text that doubles": _taking(double),
    "array": _taking(take_array),
    "mapping": _taking(take_mapping, elsewhere=True),
    "many small parts": _taking(take_small_parts),
    "cycles": _taking(take_in_cycles),
    "in foreign code": _taking(take_in_foreign_code),
    "in a child": _taking(take_in_child, elsewhere=True),
    "little left": doing(leave_little, FINE),
    "shared memory left": doing(leave_shared_memory, FINE),
}


def print_much() -> None:
    for _ in range(100):
        print("x" * 10**6)


def print_lines() -> None:
    for i in range(300_000):
        print(i)


def print_in_threads() -> None:
    threads = [threading.Thread(target=print, args=("x" * 10**5,)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def log_much() -> None:
    for i in range(5_000):
        logging.getLogger("study").warning("step %d", i)


def log(*arguments: Any) -> None:
    logging.getLogger("study").warning(*arguments)


def warn_much() -> None:
    for i in range(5_000):
        warnings.warn(f"step {i}", stacklevel=1)


OUTPUT: dict[str, Case] = {
    "100 MB": doing(print_much, FINE, n_together=MANY),
    "100 MB of errors": doing(
        lambda: sys.stderr.write("x" * 10**8) and None, FINE, n_together=MANY
    ),
    "300,000 lines": doing(print_lines, FINE, n_together=MANY),
    "bytes that are no text": doing(
        lambda: os.write(1, bytes(range(256)) * 4000), FINE, n_together=MANY
    ),
    "half a character": doing(
        lambda: print("\ud800"), fails("UnicodeEncodeError"), n_together=MANY
    ),
    "control characters": doing(lambda: print("\x1b[2J\x1b]0;mine\x07"), FINE, n_together=MANY),
    "50 threads that print": doing(print_in_threads, FINE, n_together=MANY),
    "5,000 log records": doing(log_much, FINE, n_together=MANY),
    "log record of 10 MB": doing(lambda: log("x" * 10**7), FINE, n_together=MANY),
    "log record with a lock": doing(lambda: log("%s", threading.Lock()), FINE, n_together=MANY),
    "log record that is wrong": doing(lambda: log("%d %d", "one"), FINE, n_together=MANY),
    "5,000 warnings": doing(warn_much, FINE, n_together=MANY),
}
