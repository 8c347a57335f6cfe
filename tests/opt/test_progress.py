import io
import os
import pty
import re
import sys
import termios
from collections.abc import Iterator
from functools import partial

import pytest

from rush_opt.running.progress import Progress
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


def show_and_read(progress: Progress, terminal: Terminal, n_finished: int, best: float) -> str:
    progress.show(n_finished, 0, [best])
    return terminal.read()


def test_a_terminal_shows_one_line_that_is_rewritten(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    terminal.read()

    def shown(n_ended: int, best: float) -> str:
        progress.show(n_ended, 0, [best])
        return terminal.read()

    first = wait_until(lambda: shown(5, 0.123456789))
    second = wait_until(lambda: shown(70, 0.5))
    progress.show(100, 0, [0.5], last=True)
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
    progress.show(6, 0, [0.5], last=True)
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
        progress.show(700, 9, [-1.234e-05], objective_share=0.834, n_joined=4)
        return terminal.read()

    line = wait_until(shown).strip("\r")
    assert re.match(r" 70%\|\S{7} {3}\| 700/1000 trials \(9 failed\), best value -1\.234e-05", line)
    assert len(line) <= 80


def test_a_run_with_only_a_timeout_has_a_bar_of_time(terminal: Terminal) -> None:
    progress = Progress(None, 3600.0, terminal.stream)
    progress.begin(0)
    terminal.read()
    progress.show(7, 0, [0.5], last=True)
    assert re.match(r"\r +0%\|.*\| 7 trials, best value 0\.5, 0/3600 s, ", terminal.read())


def test_a_run_without_a_budget_has_no_bar(terminal: Terminal) -> None:
    progress = Progress(None, None, terminal.stream)
    progress.begin(0)
    terminal.read()
    progress.show(7, 0, [0.5], last=True)
    assert re.match(r"\r7 trials, best value 0\.5, 0 s, ", terminal.read())


def test_a_bar_does_not_grow_beyond_its_budget(terminal: Terminal) -> None:
    progress = Progress(5, None, terminal.stream)
    progress.begin(7)
    terminal.read()
    progress.show(7, 0, [0.5], last=True)
    assert re.match(r"\r100%\|.*\| 7/5 trials, ", terminal.read())


def test_a_terminal_is_written_to_a_few_times_per_second(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    terminal.read()
    wait_until(partial(show_and_read, progress, terminal, 1, 1.0))
    for n in range(2, 50):
        progress.show(n, 0, [1.0])
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
        progress.show(n, 0, None)  # too soon after the line before
    progress.show(10, 0, [0.25], last=True)
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
    Progress(n_trials, timeout_s, stream).show(7, n_failed, best, last=True)
    assert re.fullmatch(line, stream.getvalue().rstrip("\n"))


def test_progress_is_written_to_standard_error_by_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Progress(1, None).show(1, 0, [0.0], last=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("1/1 trials")


def test_the_line_has_the_objective_share_and_the_time_left(terminal: Terminal) -> None:
    progress = Progress(100, None, terminal.stream)
    progress.begin(0)
    terminal.read()

    def shown() -> str:
        progress.show(50, 0, [1.0], objective_share=0.834)
        return terminal.read()

    line = wait_until(shown)
    assert re.search(
        r"\| 50/100 trials, best value 1, 0 s, about [01] s left, \S+ trials/s, objective 83 %",
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
    progress.show(1, 0, [0.0], last=True)
    assert tee.written.startswith("1/1 trials, best value 0, ")


def test_a_process_without_standard_error_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    progress = Progress(1, None)
    progress.begin(0)
    progress.show(1, 0, [0.0], last=True)
    progress.close()


def test_a_closed_stream_is_not_written_to() -> None:
    stream = io.StringIO()
    stream.close()
    progress = Progress(1, None, stream)
    progress.begin(0)
    progress.show(1, 0, [0.0], last=True)


def test_a_pipe_without_a_reader_ends_the_display_and_not_the_run() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    progress = Progress(2, None, stream)
    progress.begin(0)
    progress.show(1, 0, [0.0], last=True)
    progress.show(2, 0, [0.0], last=True)
    with pytest.raises(BrokenPipeError):  # the first line is in the buffer, and no other
        stream.close()


def test_a_closed_terminal_ends_the_display_and_not_the_run() -> None:
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    progress = Progress(2, None, stream)
    progress.begin(0)
    os.close(master)
    progress.show(1, 0, [0.0], last=True)
    progress.show(2, 0, [0.0], last=True)
    progress.close()
    with pytest.raises(OSError, match="Input/output error"):
        stream.close()


def test_workers_from_elsewhere_are_counted() -> None:
    stream = io.StringIO()
    progress = Progress(100, None, stream)
    progress.show(5, 0, [0.5], n_joined=3, last=True)
    assert re.match(r"5/100 trials, best value 0\.5, 0 s, 3 workers joined, ", stream.getvalue())
