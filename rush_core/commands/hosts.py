"""The lines of a status about hosts: their workers by state, and what those use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rush_core.kernel.hosts import HostInfo
from rush_core.kernel.workers import WorkerInfo
from rush_core.terminal import duration_text, printable

__all__ = ["host_lines"]

_MB = 1e6


def host_lines(workers: Iterable[WorkerInfo], hosts: Sequence[HostInfo]) -> list[str]:
    """Return a line for each host: its workers by state, then what its nodes wrote about it."""
    states: dict[str, Counter[str]] = {}
    for worker in workers:
        states.setdefault(worker.host, Counter())[worker.state.value] += 1
    for info in hosts:
        states.setdefault(info.host, Counter())
    return [_line(host, counts, hosts) for host, counts in states.items()]


def _line(host: str, counts: Counter[str], hosts: Sequence[HostInfo]) -> str:
    by_state = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no worker"
    used = [_usage_text(info) for info in hosts if info.host == host]
    return printable("; ".join((f"{host}: {by_state}", *used)))


def _usage_text(info: HostInfo) -> str:
    if info.is_silent:
        return f"silent for {duration_text(info.age_s)}"
    usage = info.usage
    parts = [f"{usage.cores:.2g} cores"]
    if usage.memory is not None:
        parts.append(f"{usage.memory / _MB:.0f} MB")
    if usage.read_age_s is not None:
        parts.append(f"results {duration_text(usage.read_age_s)} old")
    return ", ".join(parts)
