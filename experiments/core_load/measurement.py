"""What a load finds out: durations, counts, and the marks at both ends of its window."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Measurement:
    """What happened inside the window.

    Attributes
    ----------
    latencies_s : dict of str to list of float
        Of each operation that ended in it. ``finish`` (with the read, if there is one) and ``step``
        count from when the step was due, ``start`` from the end of the finish before it, and
        ``read``, of a host's reader, from when the read was due.
    lags_s : list of float
        How much later than due the generator itself sent, the worker being free.
    n_reads, n_records, n_bytes : int
        Reads that ended, the records in them, and all bytes received.
    n_waits : int
        How often a host's reader waited in the server, because its last read found nothing new.
    n_beats : int
        How often the heartbeats of a host were sent.
    n_sends, n_sent : int
        How often writes of workers were sent, and how many writes that were.
    n_connections : int
        Of all clients with the server.
    marks : list of object
        What the caller's `mark` returned at the beginning and at the end.
    window_s : float
        As long as it really lasted.
    """

    latencies_s: dict[str, list[float]] = field(
        default_factory=lambda: {"finish": [], "start": [], "step": [], "read": []}
    )
    lags_s: list[float] = field(default_factory=list)
    n_reads: int = 0
    n_records: int = 0
    n_bytes: int = 0
    n_waits: int = 0
    n_beats: int = 0
    n_sends: int = 0
    n_sent: int = 0
    n_connections: int = 0
    marks: list[object] = field(default_factory=list)
    window_s: float = 0.0
