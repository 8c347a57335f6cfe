"""The progress of a run on the screen: a bar of tqdm, or a plain line every few seconds."""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO

from rush_core import duration_text
from rush_opt.running.log_above_bar import records_above

__all__ = ["Moment", "Progress"]

# Seconds between two updates, with a bar and without. A bar is updated in place. Plain lines stay
# on the screen, so there are fewer of them.
_EVERY_S = {True: 0.2, False: 5.0}


@dataclass(frozen=True)
class Moment:
    """A run at one moment, as it is shown.

    Attributes
    ----------
    n_ended, n_failed : int
        Number of trials that ended, and of those among them that failed.
    best : sequence of float or None
        The best value of each objective so far; None if no trial finished.
    n_workers, n_joined : int, int or None
        How many workers the run wants, and how many have joined; None if that is not known.
    n_running : int
        Number of running trials, as far as it is known.
    report : tuple of float and float, or None
        Step and value of the last report of a running trial.
    objective_share : float or None
        Time in the objective over wall clock times workers, from the trials that ended.
    """

    n_ended: int
    n_failed: int = 0
    best: Sequence[float] | None = None
    n_workers: int = 1
    n_joined: int | None = None
    n_running: int = 0
    report: tuple[float, float] | None = None
    objective_share: float | None = None


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
        self._logs = ExitStack()  # log records are shown above the bar while it is open

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
                self._logs.enter_context(records_above(self._bar, self._stream))

    def is_due(self) -> bool:
        """Tell whether the last update is long enough ago; `show` does not check it."""
        return time.monotonic() - self._shown_at >= _EVERY_S[self._bar is not None]

    def show(self, run: Moment, *, last: bool = False) -> None:
        """Show a moment of the run.

        Parameters
        ----------
        run : Moment
        last : bool
            Whether the run is over. Then the bar is closed.
        """
        self._shown_at = time.monotonic()
        seconds = self._shown_at - self._began
        if self._bar is None:
            self._print(self._line(run, seconds, last=last, columns=_columns()))
            return
        with self._writing():
            columns = self._bar.ncols or _columns()
            taken = len(self._shape().format(percentage=100, bar=10 * " ", desc=""))
            self._bar.n = min(run.n_ended if self._n_trials else seconds, self._bar.total or 0)
            self._bar.set_description_str(
                self._line(run, seconds, last=last, columns=max(columns - taken - 1, 20))
            )
        if last:
            self.close()

    def _line(self, run: Moment, seconds: float, *, last: bool, columns: int) -> str:
        """Return the text for a moment: the most important parts, as many as fit."""
        rate = (run.n_ended - self._n_before) / seconds if seconds > 0 else 0.0
        busy = run.objective_share
        line = self._done(run)
        if len(line) > columns:
            line = self._done(replace(run, n_failed=0))
        for part in (
            _waiting(run) if run.best is None and not last else None,
            _best(run.best) if run.best is not None or run.n_failed or last else None,
            None if last else self._left(run.n_ended, rate),
            _joined(run),
            f"{seconds:.0f}{f'/{self._timeout_s:.0f}' if self._timeout_s else ''} s",
            f"{rate:.3g} trials/s" if run.n_ended > self._n_before else None,
            None if busy is None else f"{100 * busy:.0f} % of time in objective",
        ):
            if part is not None and len(line) + len(part) + 2 <= columns:
                line = f"{line}, {part}"
        return line

    def close(self) -> None:
        """Close the bar, if there is one, and leave it on the screen. Later updates are lines."""
        self._logs.close()
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
        shape = self._shape()
        return tqdm(total=budget, bar_format=shape, file=self._stream, dynamic_ncols=True)

    def _shape(self) -> str:
        """Return the format of the bar and the text behind it, as tqdm has it."""
        if not (self._n_trials or self._timeout_s):
            return "{desc}"
        # Short in a terminal, where the text is on the same line. In a notebook it is a widget.
        bar = "{bar:10}" if self._is_terminal else "{bar}"
        return f"{{percentage:3.0f}}%|{bar}| {{desc}}"

    def _done(self, run: Moment) -> str:
        of_trials = f"/{self._n_trials}" if self._n_trials else ""
        failed = f" ({run.n_failed} failed)" if run.n_failed else ""
        return f"{run.n_ended}{of_trials} trials{failed}"

    def _left(self, n_ended: int, rate: float) -> str | None:
        """Return how long the other trials take at this rate; None without a budget of trials."""
        if self._n_trials is None or rate <= 0:
            return None
        return f"about {duration_text((self._n_trials - n_ended) / rate)} left"


def _waiting(run: Moment) -> str | None:
    """Return what happens before a trial has finished: running trials and their last report."""
    parts = [f"{run.n_running} running"] if run.n_running else []
    if run.report is not None:
        step, value = run.report
        parts.append(f"last report {value:.6g} at step {step:g}")
    return ", ".join(parts) or None


def _joined(run: Moment) -> str | None:
    """Return how many workers have joined, as long as some are missing."""
    if run.n_joined is None or run.n_joined >= run.n_workers:
        return None
    return f"{run.n_joined} of {run.n_workers} workers joined"


def _columns() -> int:
    """Return the width of the terminal; 80 without one."""
    return shutil.get_terminal_size((80, 24)).columns


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
