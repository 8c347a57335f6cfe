"""What a run shows while it goes on: one line that is rewritten, or plain lines now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

# Without a terminal every line stays, so there are fewer.
_EVERY_S = {True: 0.2, False: 5.0}


class Progress:
    """Prints how far a run is, how fast it goes and the best value so far.

    Parameters
    ----------
    n_trials : int or None
    timeout_s : float or None
        The run's budgets, to tell what is left.
    stream : TextIO
    """

    def __init__(
        self, n_trials: int | None, timeout_s: float | None, stream: TextIO | None = None
    ) -> None:
        self._n_trials = n_trials
        self._timeout_s = timeout_s
        self._stream = stream or sys.stderr
        self._rewrites = self._stream.isatty()
        self._began = time.monotonic()
        self._printed_at = self._began
        self._width = 0
        self._line_is_open = False
        self._n_before = 0

    def begin(self, n_before: int) -> None:
        """Take note that the run begins, and how many trials ended before it."""
        self._began = self._printed_at = time.monotonic()
        self._n_before = n_before

    def show(
        self,
        n_ended: int,
        n_failed: int,
        best: Sequence[float] | None,
        *,
        objective_share: float | None = None,
        n_joined: int | None = None,
        last: bool = False,
    ) -> None:
        """Print the state of the run, unless that was done a moment ago.

        Parameters
        ----------
        n_ended, n_failed : int
            Trials that came to an end, and how many of them failed.
        best : sequence of float or None
            Best value of each objective so far.
        objective_share : float, optional
            Time in the objective over wall clock times workers, of the trials that ended.
        n_joined : int, optional
            Workers that joined so far, where they come from elsewhere.
        last : bool
            Whether the run is over: prints in any case and ends the line.
        """
        now = time.monotonic()
        if not last and now - self._printed_at < _EVERY_S[self._rewrites]:
            return
        self._printed_at = now
        seconds = now - self._began
        rate = (n_ended - self._n_before) / seconds if seconds > 0 else 0.0
        parts = [
            self._done(n_ended, n_failed, seconds),
            None if last else self._left(n_ended, rate),
            None if n_joined is None else f"{n_joined} workers joined",
            f"{rate:.3g} trials/s",
            None if objective_share is None else f"objective {100 * objective_share:.0f} %",
            self._best(best),
        ]
        line = ", ".join(part for part in parts if part is not None)
        if self._rewrites:
            padding = " " * (self._width - len(line))
            self._width = len(line)
            line = f"\r{line}{padding}"
        self._write(line, ends=last or not self._rewrites)

    def end_line(self) -> None:
        """End the line that would be rewritten, if there is one: something else is to follow."""
        if self._line_is_open:
            self._write("", ends=True)

    def _write(self, text: str, *, ends: bool) -> None:
        self._stream.write(text + "\n" * ends)
        self._stream.flush()
        self._line_is_open = not ends

    def _done(self, n_ended: int, n_failed: int, seconds: float) -> str:
        of_trials = f"/{self._n_trials}" if self._n_trials else ""
        of_time = f"/{self._timeout_s:.0f}" if self._timeout_s else ""
        failed = f" ({n_failed} failed)" if n_failed else ""
        return f"{n_ended}{of_trials} trials{failed}, {seconds:.0f}{of_time} s"

    def _best(self, best: Sequence[float] | None) -> str:
        several = "s" if best is not None and len(best) > 1 else ""
        values = "none yet" if best is None else " and ".join(f"{value:.6g}" for value in best)
        return f"best value{several} {values}"

    def _left(self, n_ended: int, rate: float) -> str | None:
        """Say how long the trials will take at this rate; of a timeout one sees what is left."""
        if self._n_trials is None or rate <= 0:
            return None
        return f"about {(self._n_trials - n_ended) / rate:.0f} s left"
