"""The children of a forking process: forked, watched, killed and reaped.

Each child is in a session of its own. It ends with this process in two ways. When this process is
to end, it writes a byte for each child into a pipe, which is their standard input. If this process
is killed, Linux kills the children at once.

When a child has ended, processes that are left in its process group get a moment to end, and are
then killed. Those that began a session of their own are left to the supervisor of this process.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rush_core.launching.signals import STOP_SIGNALS, stop_signals_held_back
from rush_core.supervisor import (
    DYING_S,
    LEFT_BEHIND_S,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    STOPPED_S,
    prctl,
)

__all__ = ["ForkedChildren"]


@dataclass
class _Child:
    """A child, from its start until nothing is left in its process group.

    Attributes
    ----------
    name : str
    status : int or None
        Its exit status, when it has ended.
    last_stop : int
        The signal that has stopped it.
    act_at : float
        When it is to be killed because it is stopped, or its group because it has ended; and when
        the wait for a killed group is over.
    was_killed : bool
        Whether this process has killed it.
    killed_for : int
        The signal that had stopped it when it was killed for that, else 0.
    """

    name: str
    status: int | None = None
    last_stop: int = 0
    act_at: float = math.inf
    was_killed: bool = False
    killed_for: int = 0


class ForkedChildren:
    """Forks children, and tells when they have ended; only the main thread may use it.

    From its construction on, this process ignores `STOP_SIGNALS`: a batch system may send them to
    all processes of a job, and this one must go on as long as its children. In the children they
    have their former effect.

    Parameters
    ----------
    descriptors : iterable of int
        Further descriptors of this process that are closed in the children.

    Attributes
    ----------
    changed : int
        A descriptor that becomes readable when a child has ended, was stopped or was continued.
    keep_closed : set of socket
        Sockets of this process that are closed in the children.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._children: dict[int, _Child] = {}
        self.keep_closed: set[socket.socket] = set()
        self._pid = os.getpid()
        self._pipe, self._owner_end = os.pipe()
        self.changed, self._wake = os.pipe()
        for end in (self.changed, self._wake):
            os.set_blocking(end, False)
        # The children keep the writing end of the pipe, too. So the pipe does not end when this
        # process is killed: they would begin to leave as if they were asked to, just before Linux
        # kills them.
        self._only_here = [*descriptors, self.changed, self._wake]
        self._before: dict[int, Any] = {}
        for number in STOP_SIGNALS:
            self._handle(number, signal.SIG_IGN)
        self._handle(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing wakes
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        # What a child leaves behind becomes a child of this process, which so learns its end.
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._flush = _flusher()
        self._flush()
        # What is there now is of use to all children. A collection in a child would write to these
        # objects, and so copy the memory that the processes share.
        gc.freeze()

    def fork(self, name: str, *files: Path) -> bool:
        """Fork a child; return whether this process is the child.

        Parameters
        ----------
        name : str
        *files : Path
            Files to which the standard output and standard error of the child are appended; by
            default those of this process.

        Raises
        ------
        OSError
            If a file cannot be opened, or the system has no room for a process.
        """
        with contextlib.ExitStack() as stack:
            numbers = [stack.enter_context(path.open("ab")).fileno() for path in files]
            self._flush()  # else both processes would write what is buffered
            # A signal must not reach the child before its handlers are back.
            with stop_signals_held_back():
                if (pid := os.fork()) == 0:
                    self._become_child(*numbers)
                    return True
        self._children[pid] = _Child(name)
        return False

    def kill(self, name: str) -> None:
        """Kill a child and its process group; nothing happens if they have ended."""
        for pid, child in self._children.items():
            if child.name == name:
                _kill_group(pid, child)

    def names(self) -> list[str]:
        """Return the names of the children that have not ended, without the empty one."""
        children = self._children.values()
        return [child.name for child in children if child.name and child.status is None]

    def pids(self) -> dict[str, int]:
        """Return the process number of each child in `names`."""
        children = self._children.items()
        return {c.name: pid for pid, c in children if c.name and c.status is None}

    def take_changes(self) -> dict[str, int]:
        """Take in what has happened to the children; do what is due.

        Returns
        -------
        dict of str to int
            The children of which nothing is left, by name, with their exit codes. The code is -n
            after signal n, and 128 + n if signal n stopped the child and nobody continued it.
        """
        with contextlib.suppress(BlockingIOError):
            while os.read(self.changed, 4096):
                pass
        with contextlib.suppress(ChildProcessError):  # there is none
            while (found := os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED))[0]:
                pid, status = found
                if pid in self._children:  # else the child of a child that has ended
                    _take_status(self._children[pid], status)
        now = time.monotonic()
        return dict(filter(None, [self._look_at(pid, now) for pid in list(self._children)]))

    def seconds_left(self) -> float | None:
        """Return after how many seconds `take_changes` has to be called; None for never."""
        act_at = min((child.act_at for child in self._children.values()), default=math.inf)
        return None if act_at == math.inf else max(act_at - time.monotonic(), 0.0)

    def end(self, within_s: float) -> None:
        """Let all children leave, and wait some seconds for their ends."""
        os.write(self._owner_end, bytes(len(self._children)))
        deadline = time.monotonic() + within_s
        while self._children and (left_s := deadline - time.monotonic()) > 0:
            select.select([self.changed], [], [], min(left_s, self.seconds_left() or left_s))
            self.take_changes()

    def _look_at(self, pid: int, now: float) -> tuple[str, int] | None:
        """Do what is due for a child; return its name and exit code if nothing is left of it."""
        child = self._children[pid]
        if child.status is None:
            if now >= child.act_at:
                child.killed_for = child.last_stop
                _kill_group(pid, child)
            return None
        if _group_exists(pid):
            if now < child.act_at:
                return None
            if not child.was_killed:
                _kill_group(pid, child)
                child.act_at = now + DYING_S
                return None
        del self._children[pid]
        if child.killed_for:
            return child.name, 128 + child.killed_for
        return child.name, os.waitstatus_to_exitcode(child.status)

    def _handle(self, number: int, handler: Any) -> None:
        """Handle a signal in this process only."""
        if signal.getsignal(number) is not None:  # None: foreign code handles it, let it do so
            self._before[number] = signal.signal(number, handler)

    def _become_child(self, *outputs: int) -> None:
        """Leave everything behind that belongs to the parent."""
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:  # the parent ended before
            os._exit(1)
        for standard, new in enumerate((self._pipe, *outputs)):
            os.dup2(new, standard)
        for connected in self.keep_closed:
            connected.close()
        for descriptor in (*self._only_here, self._pipe):
            os.close(descriptor)
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._children.clear()
        _renew_random_states()
        gc.enable()


def _take_status(child: _Child, status: int) -> None:
    """Note that a child was stopped, was continued, or has ended."""
    if os.WIFSTOPPED(status):
        child.last_stop = os.WSTOPSIG(status)
        child.act_at = time.monotonic() + STOPPED_S
    elif os.WIFCONTINUED(status):
        child.act_at = math.inf
    else:
        child.status = status
        child.act_at = time.monotonic() + LEFT_BEHIND_S


def _kill_group(pid: int, child: _Child) -> None:
    """Kill a child, if it has not ended, and the processes of its group.

    The number is still its own: it is not reaped, or there are processes in its group.
    """
    child.was_killed = True
    child.act_at = math.inf
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    if child.status is None:  # it may have another group
        os.kill(pid, signal.SIGKILL)


def _group_exists(pid: int) -> bool:
    """Tell whether there are processes in a process group."""
    try:
        os.killpg(pid, 0)
    except OSError:  # none, or only those of other users
        return False
    return True


def _flusher() -> Callable[[], None]:
    """Return a function that writes what is buffered for standard output and standard error."""
    import ctypes

    c_flush = ctypes.CDLL(None).fflush  # what foreign code has buffered

    def flush() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        c_flush(None)

    return flush


def _renew_random_states() -> None:
    """Seed the global generators of NumPy and PyTorch anew; Python does so for its own."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
    if (generator := getattr(sys.modules.get("torch"), "default_generator", None)) is not None:
        generator.seed()
