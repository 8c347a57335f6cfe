"""What a run shows while it goes on: a bar of tqdm's, or plain lines now and then."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

# Without a terminal every line stays, so there are fewer.
_EVERY_S = {True: 0.2, False: 5.0}


class Progress:
    """Shows how far a run is, how fast it goes and the best value so far.

    Parameters
    ----------
    n_trials : int or None
    timeout_s : float or None
        The run's budgets, to tell what is left.
    stream : TextIO
        A terminal gets a bar, and so does the notebook that standard error leads to. Nothing is
        shown where there is none, or when one was closed or its reader went away.
    """

    def __init__(
        self, n_trials: int | None, timeout_s: float | None, stream: TextIO | None = None
    ) -> None:
        self._n_trials = n_trials
        self._timeout_s = timeout_s
        # None in a process without standard error; what stands in for it need not be a whole file.
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._is_terminal = _is_terminal(self._stream)
        self._has_bar = self._is_terminal or (stream is None and _is_notebook())
        self._bar: Any = None
        self._began = self._shown_at = time.monotonic()
        self._n_before = 0

    def begin(self, n_before: int) -> None:
        """Take note that the run begins, and how many trials ended before it."""
        self._began = self._shown_at = time.monotonic()
        self._n_before = n_before
        if self._has_bar:
            with self._writing():
                self._bar = self._open_bar()

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
        """Show the state of the run, unless that was done a moment ago.

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
            Whether the run is over: shows it in any case, and for the last time.
        """
        now = time.monotonic()
        if not last and now - self._shown_at < _EVERY_S[self._bar is not None]:
            return
        self._shown_at = now
        seconds = now - self._began
        rate = (n_ended - self._n_before) / seconds if seconds > 0 else 0.0
        parts = [
            # What matters most comes first: in a narrow window the end is cut off.
            self._done(n_ended, n_failed),
            _best(best),
            f"{seconds:.0f}{f'/{self._timeout_s:.0f}' if self._timeout_s else ''} s",
            None if last else self._left(n_ended, rate),
            None if n_joined is None else f"{n_joined} workers joined",
            f"{rate:.3g} trials/s",
            None if objective_share is None else f"objective {100 * objective_share:.0f} %",
        ]
        line = ", ".join(part for part in parts if part is not None)
        if self._bar is None:
            self._print(line)
            return
        with self._writing():
            self._bar.n = min(n_ended if self._n_trials else seconds, self._bar.total or 0)
            self._bar.set_description_str(line)
        if last:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is, if there is one; what else is shown follows in plain lines."""
        if self._bar is not None:
            with self._writing():
                self._bar.close()
            self._bar = None

    def _print(self, line: str) -> None:
        if self._stream is not None:
            with self._writing():
                print(line, file=self._stream, flush=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Show nothing further if what is shown cannot be written: the run matters more."""
        try:
            yield
        except (OSError, ValueError):  # such as a pipe whose reader has ended, or a closed file
            if self._bar is not None:
                self._bar.disable = True  # else it writes once more when it is collected
            self._bar = self._stream = None

    def _open_bar(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a notebook without widgets: it gets a bar of text
            from tqdm.auto import tqdm  # looks where it is when it is imported; workers need none
        budget = self._n_trials or self._timeout_s
        # A terminal's bar is short: the text needs the line. That of a notebook is no text.
        bar = "{bar:10}" if self._is_terminal else "{bar}"
        shape = f"{{percentage:3.0f}}%|{bar}| {{desc}}" if budget else "{desc}"
        return tqdm(total=budget, bar_format=shape, file=self._stream, dynamic_ncols=True)

    def _done(self, n_ended: int, n_failed: int) -> str:
        of_trials = f"/{self._n_trials}" if self._n_trials else ""
        failed = f" ({n_failed} failed)" if n_failed else ""
        return f"{n_ended}{of_trials} trials{failed}"

    def _left(self, n_ended: int, rate: float) -> str | None:
        """Say how long the trials will take at this rate; of a timeout one sees what is left."""
        if self._n_trials is None or rate <= 0:
            return None
        return f"about {(self._n_trials - n_ended) / rate:.0f} s left"


def _best(best: Sequence[float] | None) -> str:
    several = "s" if best is not None and len(best) > 1 else ""
    values = "none yet" if best is None else " and ".join(f"{value:.6g}" for value in best)
    return f"best value{several} {values}"


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return bool(stream is not None and stream.isatty())
    except (AttributeError, ValueError):  # what only writes, or was closed
        return False


def _is_notebook() -> bool:
    """Tell whether a kernel of Jupyter runs this process."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
