"""The progress of a run on the screen: a bar of tqdm, or a plain line every few seconds."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

# Seconds between two updates, with a bar and without. A bar is updated in place. Plain lines stay
# on the screen, so there are fewer of them.
_EVERY_S = {True: 0.2, False: 5.0}


class Progress:
    """Show the number of trials, the best value so far, the time and the speed of a run.

    Parameters
    ----------
    n_trials : int or None
        The run's budget of trials, if it has one.
    timeout_s : float or None
        The run's budget of time in seconds, if it has one.
    stream : TextIO, optional
        Where to write; by default standard error. A terminal and a notebook get a bar, anything
        else gets plain lines. If the stream cannot be written to, nothing is shown.
    """

    def __init__(
        self, n_trials: int | None, timeout_s: float | None, stream: TextIO | None = None
    ) -> None:
        self._n_trials = n_trials
        self._timeout_s = timeout_s
        # `sys.stderr` is None in a process without standard error, and may be any object with a
        # method `write`.
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._is_terminal = _is_terminal(self._stream)
        self._has_bar = self._is_terminal or (stream is None and _is_notebook())
        self._bar: Any = None
        self._began = self._shown_at = time.monotonic()
        self._n_before = 0

    def begin(self, n_before: int) -> None:
        """Start the clock, and open the bar if there is one.

        Parameters
        ----------
        n_before : int
            Trials that ended before this run. They do not count for its speed.
        """
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
        """Show the state of the run, unless the last update was a moment ago.

        Parameters
        ----------
        n_ended, n_failed : int
            Number of trials that ended, and of those among them that failed.
        best : sequence of float or None
            The best value of each objective so far; None if no trial finished.
        objective_share : float, optional
            Time in the objective over wall clock times workers, from the trials that ended.
        n_joined : int, optional
            Number of workers that joined so far, if they are started outside of this process.
        last : bool
            Whether the run is over. Then the state is always shown, and the bar is closed.
        """
        now = time.monotonic()
        if not last and now - self._shown_at < _EVERY_S[self._bar is not None]:
            return
        self._shown_at = now
        seconds = now - self._began
        rate = (n_ended - self._n_before) / seconds if seconds > 0 else 0.0
        parts = [
            # The most important part is first: in a narrow window the end of the line is cut off.
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
        """Close the bar, if there is one, and leave it on the screen. Later updates are lines."""
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
        """Stop showing anything once writing fails, so that the run goes on."""
        try:
            yield
        except (OSError, ValueError):  # for example a pipe without a reader, or a closed file
            if self._bar is not None:
                self._bar.disable = True  # a bar that is garbage-collected would write once more
            self._bar = self._stream = None

    def _open_bar(self) -> Any:
        with warnings.catch_warnings():
            # tqdm warns in a notebook without widgets, and shows a bar of text there.
            warnings.simplefilter("ignore")
            # Imported here: the import itself checks for a notebook, and workers do not need tqdm.
            from tqdm.auto import tqdm
        budget = self._n_trials or self._timeout_s
        # Short in a terminal, where the text is on the same line. In a notebook it is a widget.
        bar = "{bar:10}" if self._is_terminal else "{bar}"
        shape = f"{{percentage:3.0f}}%|{bar}| {{desc}}" if budget else "{desc}"
        return tqdm(total=budget, bar_format=shape, file=self._stream, dynamic_ncols=True)

    def _done(self, n_ended: int, n_failed: int) -> str:
        of_trials = f"/{self._n_trials}" if self._n_trials else ""
        failed = f" ({n_failed} failed)" if n_failed else ""
        return f"{n_ended}{of_trials} trials{failed}"

    def _left(self, n_ended: int, rate: float) -> str | None:
        """Return how long the other trials take at this rate; None without a budget of trials."""
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
    except (AttributeError, ValueError):  # it has no `isatty`, or is closed
        return False


def _is_notebook() -> bool:
    """Whether this process is a kernel of Jupyter."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
