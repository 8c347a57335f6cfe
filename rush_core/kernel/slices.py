"""The sizes of the parts in which large requests go to the server.

While the server executes a command, all other clients wait. So nothing asks it to read or move
more than one slice at a time. With records of some hundred bytes, each command then holds the
server for a few milliseconds (`python -m experiments.held_server`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["LARGEST_BATCH_BYTES", "SLICE", "batches"]

# How many records one command reads, moves or adds. For records of the usual size, the server needs
# 0.1 ms to read this many, and about 2 ms to move them. With 5,000, a busy system stopped the
# server in the middle, for tens of milliseconds. With a smaller number, the round trips take most
# of the time.
SLICE = 2_000

# How many bytes of records one command adds.
LARGEST_BATCH_BYTES = 16 * 1024**2


def batches(records: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Divide records into batches that are added in one step each.

    A record that is larger than `LARGEST_BATCH_BYTES` is a batch of its own.
    """
    first, size = 0, 0
    for i, record in enumerate(records):
        size += len(record)
        if i > first and (i - first == SLICE or size > LARGEST_BATCH_BYTES):
            yield tuple(records[first:i])
            first, size = i, len(record)
    if len(records) > first:
        yield tuple(records[first:])
