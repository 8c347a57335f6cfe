"""The memory of processes: proportional, with shares of shared pages, and private."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def memory_of(pids: Collection[int]) -> dict[str, float]:
    """Return the mean proportional and private memory of some processes, MB; needs Linux.

    Raises
    ------
    FileNotFoundError, ProcessLookupError
        If a process has ended.
    """
    pss_kib = private_kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, kib = line.split()[:2]
            pss_kib += int(kib) * (name == "Pss:")
            private_kib += int(kib) * (name in ("Private_Clean:", "Private_Dirty:"))
    to_mb = 1.024e-3 / len(pids)
    return {"pss_mb": round(pss_kib * to_mb, 1), "private_mb": round(private_kib * to_mb, 1)}
