import io
import logging
import os
import pty
import re
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from rush_opt.running.progress import Moment, Progress
from tests.waiting import wait_until


class Terminal:
    """A terminal of the operating system: `read` returns what was written to `stream`."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 160))
        self.stream = os.fdopen(slave, "w")

    def read(self) -> str:
        """Return what was written since the last time, which arrives a little later."""
        self.stream.write("\0")  # the end of it
        self.stream.flush()
        arrived = b""
        while not arrived.endswith(b"\0"):
            arrived += os.read(self._master, 65536)
        return arrived[:-1].decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def show(
    progress: Progress,
    n_ended: int,
    n_failed: int,
    best: list[float] | None,
    *,
    last: bool = False,
    **more: Any,
) -> None:
    """Show a moment as a run does: only if the last update was long enough ago."""
    if last or progress.is_due():
        progress.show(Moment(n_ended, n_failed, best, **more), last=last)


def show_and_read(progress: Progress, terminal: Terminal, n_finished: int, best: float) -> str:
    show(progress, n_finished, 0, [best])
    return terminal.read()


def test_a_terminal_shows_one_line_that_is_rewritten(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    terminal.read()

    def shown(n_ended: int, best: float) -> str:
        show(progress, n_ended, 0, [best])
        return terminal.read()

    first = wait_until(lambda: shown(5, 0.123456789))
    second = wait_until(lambda: shown(70, 0.5))
    show(progress, 100, 0, [0.5], last=True)
    last = terminal.read()
    for text, n in ((first, 5), (second, 70), (last, 100)):
        assert re.match(rf"\r *{n}%\|.*\| {n}/100 trials, best value ", text)
    assert "\n" not in first + second
    assert last.endswith("\n")
    assert last.count("\n") == 1


def test_a_bar_that_was_closed_is_followed_by_plain_lines(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    wait_until(partial(show_and_read, progress, terminal, 5, 0.5))
    progress.close()
    assert terminal.read().endswith("\n")
    show(progress, 6, 0, [0.5], last=True)
    progress.close()
    shown = terminal.read()
    assert shown.startswith("6/100 trials, best value 0.5, ")
    assert shown.count("\n") == 1


def test_a_line_of_80_columns_has_room_for_bar_trials_and_the_best_value(
    terminal: Terminal,
) -> None:
    termios.tcsetwinsize(terminal.stream, (24, 80))
    progress = Progress(1000, None, terminal.stream)
    progress.begin(0)
    terminal.read()

    def shown() -> str:
        show(progress, 700, 9, [-1.234e-05], objective_share=0.834, n_joined=4)
        return terminal.read()

    line = wait_until(shown).strip("\r")
    assert re.match(r" 70%\|\S{7} {3}\| 700/1000 trials \(9 failed\), best value -1\.234e-05", line)
    assert len(line) <= 80


def test_a_run_with_only_a_timeout_has_a_bar_of_time(terminal: Terminal) -> None:
    progress = Progress(None, 3600.0, terminal.stream)
    progress.begin(0)
    terminal.read()
    show(progress, 7, 0, [0.5], last=True)
    assert re.match(r"\r +0%\|.*\| 7 trials, best value 0\.5, 0/3600 s, ", terminal.read())


def test_a_run_without_a_budget_has_no_bar(terminal: Terminal) -> None:
    progress = Progress(None, None, terminal.stream)
    progress.begin(0)
    terminal.read()
    show(progress, 7, 0, [0.5], last=True)
    assert re.match(r"\r7 trials, best value 0\.5, 0 s, ", terminal.read())


def test_a_bar_does_not_grow_beyond_its_budget(terminal: Terminal) -> None:
    progress = Progress(5, None, terminal.stream)
    progress.begin(7)
    terminal.read()
    show(progress, 7, 0, [0.5], last=True)
    assert re.match(r"\r100%\|.*\| 7/5 trials, ", terminal.read())


def test_a_terminal_is_written_to_a_few_times_per_second(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    terminal.read()
    wait_until(partial(show_and_read, progress, terminal, 1, 1.0))
    for n in range(2, 50):
        show(progress, n, 0, [1.0])
    assert terminal.read() == ""


def test_a_bar_left_open_can_be_ended_before_something_else_is_written(
    terminal: Terminal,
) -> None:
    progress = Progress(None, 60, terminal.stream)
    progress.close()
    assert terminal.read() == ""
    progress.begin(0)
    terminal.read()
    wait_until(partial(show_and_read, progress, terminal, 1, 1.0))
    progress.close()
    assert terminal.read().endswith("\n")
    progress.close()
    assert terminal.read() == ""


def test_a_plain_stream_gets_a_line_that_stays() -> None:
    stream = io.StringIO()
    progress = Progress(10, None, stream)
    for n in range(10):
        show(progress, n, 0, None)  # too soon after the line before
    show(progress, 10, 0, [0.25], last=True)
    progress.close()
    (line,) = stream.getvalue().splitlines(keepends=True)
    assert re.fullmatch(r"10/10 trials, best value 0\.25, 0 s, \S+ trials/s\n", line)


@pytest.mark.parametrize(
    ("n_trials", "timeout_s", "n_failed", "best", "line"),
    [
        (20, None, 0, [0.5], r"7/20 trials, best value 0\.5, 0 s, \S+ trials/s"),
        (None, 90.0, 0, [0.5], r"7 trials, best value 0\.5, 0/90 s, \S+ trials/s"),
        (
            20,
            90.0,
            3,
            [-1e9],
            r"7/20 trials \(3 failed\), best value -1e\+09, 0/90 s, \S+ trials/s",
        ),
        (20, None, 7, None, r"7/20 trials \(7 failed\), best value none yet, 0 s, \S+ trials/s"),
        (None, None, 0, [0.0], r"7 trials, best value 0, 0 s, \S+ trials/s"),
        (None, None, 0, [0.5, 9.0], r"7 trials, best values 0\.5 and 9, 0 s, \S+ trials/s"),
    ],
)
def test_the_line_has_the_trials_the_time_left_and_the_best_value(
    n_trials: int | None,
    timeout_s: float | None,
    n_failed: int,
    best: list[float] | None,
    line: str,
) -> None:
    stream = io.StringIO()
    show(Progress(n_trials, timeout_s, stream), 7, n_failed, best, last=True)
    assert re.fullmatch(line, stream.getvalue().rstrip("\n"))


def test_progress_is_written_to_standard_error_by_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(Progress(1, None), 1, 0, [0.0], last=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("1/1 trials")


def test_the_line_has_the_objective_share_and_the_time_left(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    terminal.read()

    def shown() -> str:
        show(progress, 50, 0, [1.0], objective_share=0.834)
        return terminal.read()

    line = wait_until(shown)
    assert re.search(
        r"\| 50/100 trials, best value 1, about \S+ s left, 0 s, \S+ trials/s, "
        "83 % of time in objective",
        line,
    )


def test_a_stream_that_can_only_write_gets_plain_lines() -> None:
    class Tee:
        def __init__(self) -> None:
            self.written = ""

        def write(self, text: str) -> None:
            self.written += text

        def flush(self) -> None:
            pass

    tee = Tee()
    progress = Progress(1, None, tee)  # type: ignore[arg-type]
    progress.begin(0)
    show(progress, 1, 0, [0.0], last=True)
    assert tee.written.startswith("1/1 trials, best value 0, ")


def test_a_process_without_standard_error_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    progress = Progress(1, None)
    progress.begin(0)
    show(progress, 1, 0, [0.0], last=True)
    progress.close()


def test_a_closed_stream_is_not_written_to() -> None:
    stream = io.StringIO()
    stream.close()
    progress = Progress(1, None, stream)
    progress.begin(0)
    show(progress, 1, 0, [0.0], last=True)


def test_a_pipe_without_a_reader_ends_the_display_and_not_the_run() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    progress = Progress(2, None, stream)
    progress.begin(0)
    show(progress, 1, 0, [0.0], last=True)
    show(progress, 2, 0, [0.0], last=True)
    with pytest.raises(BrokenPipeError):  # the first line is in the buffer, and no other
        stream.close()


def test_a_closed_terminal_ends_the_display_and_not_the_run() -> None:
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    progress = Progress(2, None, stream)
    progress.begin(0)
    os.close(master)
    show(progress, 1, 0, [0.0], last=True)
    show(progress, 2, 0, [0.0], last=True)
    progress.close()
    with pytest.raises(OSError, match="Input/output error"):
        stream.close()


def line_of(columns: int, run: Moment, terminal: Terminal, n_trials: int | None = 1000) -> str:
    """Return what a terminal of this width shows of a moment."""
    termios.tcsetwinsize(terminal.stream, (24, columns))
    progress = Progress(n_trials, None, terminal.stream)
    progress.begin(0)
    terminal.read()
    wait_until(progress.is_due)
    progress.show(run)
    line = terminal.read().strip("\r")
    progress.close()
    terminal.read()
    return line


def test_workers_are_counted_until_all_have_joined(terminal: Terminal) -> None:
    some = Moment(5, best=[0.5], n_workers=4, n_joined=3)
    assert ", 3 of 4 workers joined, " in line_of(160, some, terminal)
    assert "joined" not in line_of(160, replace(some, n_joined=4), terminal)


def test_before_a_trial_has_finished_running_ones_and_their_reports_are_shown(
    terminal: Terminal,
) -> None:
    run = Moment(0, n_workers=4, n_joined=4, n_running=4)
    assert re.fullmatch(r" +0%\|.*\| 0/1000 trials, 4 running, \d s", line_of(80, run, terminal))
    line = line_of(80, replace(run, report=(3.0, 0.53)), terminal)
    assert re.search(r"\| 0/1000 trials, 4 running, last report 0\.53 at step 3, \d s$", line)
    failed = line_of(80, replace(run, n_ended=2, n_failed=2), terminal)
    assert "2/1000 trials (2 failed), 4 running, best value none yet" in failed


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("n_trials", [1000, None])
def test_the_line_fits_any_width_without_parts_that_are_cut(
    columns: int, n_trials: int | None, terminal: Terminal
) -> None:
    run = Moment(700, n_failed=9, best=[-1.234e-05], n_workers=4, n_joined=3, objective_share=0.83)
    line = line_of(columns, run, terminal, n_trials)
    assert len(line) < columns
    *parts, last = line.rpartition("| ")[2].split(", ")
    whole = (
        r"700(/1000)? trials( \(9 failed\))?|best value -1.234e-05|about \S+ \w+ left|3 of 4 .*ed|"
    )
    whole += r"\d+ s|\S+ trials/s|83 % of time in objective"
    assert [part for part in (*parts, last) if not re.fullmatch(whole, part)] == []


def test_a_plain_line_fits_80_columns() -> None:
    stream = io.StringIO()
    run = Moment(700, n_failed=9, best=[-1.234e-05], n_workers=4, n_joined=3, objective_share=0.8)
    Progress(1000, 1e6, stream).show(run)
    assert len(stream.getvalue().rstrip("\n")) <= 80


def test_log_records_are_shown_above_the_bar(terminal: Terminal) -> None:
    handler = logging.StreamHandler(terminal.stream)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        progress = Progress(100, None, terminal.stream)
        progress.begin(0)
        terminal.read()
        wait_until(partial(show_and_read, progress, terminal, 5, 0.5))
        root.warning("something happened")
        shown = terminal.read()
        progress.close()
        terminal.read()
        root.warning("afterwards")
        assert terminal.read() == "afterwards\r\n"
    finally:
        root.removeHandler(handler)
    before, after = shown.split("something happened\r\n")
    assert re.fullmatch(r"\r +\r", before)  # the bar is cleared
    assert re.match(r"\r *5%\|.*5/100 trials", after)  # and drawn below
