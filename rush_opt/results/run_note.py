"""The note that a run keeps in its network: its budget, and whether and why it has ended.

Other programs read it to show the run while it goes on, and to load its result afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

__all__ = ["RUN_NOTE", "RunNote"]

# The name of the note in the network.
RUN_NOTE = "run"


@dataclass(frozen=True)
class RunNote:
    """What the manager of a run writes down when the run begins, and again when it ends.

    Attributes
    ----------
    began : float
        When the run began, seconds since 1970 by the server's clock.
    host, pid : str, int
        The process of the manager.
    n_workers : int
        How many workers the run wants.
    n_trials : int or None
        The budget of trials.
    deadline : float or None
        When the timeout expires, by the same clock as `began`.
    optimizer : str
        The optimizer's settings as a text.
    objective : str
        The name of the objective.
    seed : int
        The run's seed.
    code : str or None
        A digest of the objective's code; None if it is not known.
    space : str or None
        The search space as JSON; None if JSON cannot hold it.
    ended : float or None
        When the run ended; None while it goes on, and if its program ended early.
    stop_reason : str or None
        Why it ended; see `TuneResult`.
    """

    began: float
    host: str
    pid: int
    n_workers: int
    n_trials: int | None
    deadline: float | None
    optimizer: str
    objective: str
    seed: int
    code: str | None = None
    space: str | None = None
    ended: float | None = None
    stop_reason: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the note as a mapping that a network can store."""
        return asdict(self) | {"seed": str(self.seed)}  # a seed may have more than 64 bits

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RunNote:
        """Undo `to_plain`; ignore names that this version does not know.

        Raises
        ------
        ValueError
            If the mapping is no note of a run.
        """
        try:
            return msgspec.convert({**plain, "seed": int(plain.get("seed", 0))}, cls)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise ValueError(
                f"the note of a run in this network cannot be read ({error}); another version of "
                "rush, or another program, wrote it"
            ) from None
