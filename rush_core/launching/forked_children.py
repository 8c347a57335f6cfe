"""The children of a forking process: forked, killed and reaped.

Each child is in a session of its own. It ends with this process in two ways. Its standard input is
a pipe whose other end only this process holds, as for every owned process. And if this process is
killed, the kernel kills the child at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rush_core.launching.signals import STOP_SIGNALS, stop_signals_held_back

__all__ = ["ForkedChildren"]

_PR_SET_PDEATHSIG = 1


class ForkedChildren:
    """Forks children, and tells when one has ended; only one thread, the main thread, may use it.

    From its construction on, this process ignores `STOP_SIGNALS`: a batch system may send them to
    all processes of a job, and this one must go on as long as its children. In the children they
    have their former effect.

    Parameters
    ----------
    descriptors : iterable of int
        Further descriptors of this process that are closed in the children.

    Attributes
    ----------
    signalled : int
        A descriptor that becomes readable when a child has ended; `reap` empties it.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._names: dict[int, str] = {}
        self._pid = os.getpid()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._pipe, self._owner_end = os.pipe()
        self.signalled, self._signal_end = os.pipe()
        for end in (self.signalled, self._signal_end):
            os.set_blocking(end, False)
        self._only_here = [*descriptors, self._owner_end, self.signalled, self._signal_end]
        self._before: dict[int, Any] = {}
        for number in STOP_SIGNALS:
            self._handle(number, signal.SIG_IGN)
        # Without a handler the signal would not be written into the pipe.
        self._handle(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signal_end, warn_on_full_buffer=False)
        self._flush()
        # What is there now is of use to all children. A collection in a child would write to these
        # objects, and so copy the pages that the processes share.
        gc.freeze()

    def fork(self, name: str, out: Path, err: Path) -> int:
        """Fork a child; return its number in this process, and 0 in the child.

        Parameters
        ----------
        name : str
        out, err : Path
            Files to which the standard output and standard error of the child are appended.

        Raises
        ------
        OSError
            If a file cannot be opened, or the system has no room for a process.
        """
        files = []
        try:
            files += [os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for path in (out, err)]
            self._flush()  # what is not written yet would be written by parent and child
            # A signal must not reach the child before its handlers are back.
            with stop_signals_held_back():
                pid = os.fork()
                if pid == 0:
                    self._become_child(*files)
                    return 0
        finally:
            for file in files:
                os.close(file)
        self._names[pid] = name
        return pid

    def kill(self, name: str) -> None:
        """Send SIGKILL to a child; nothing happens if it has ended."""
        for pid, child in self._names.items():
            if child == name:
                os.kill(pid, signal.SIGKILL)  # it is not reaped, so the number is still its own

    def reap(self) -> dict[str, int]:
        """Return the exit codes (-n after signal n) of the children that have ended, by name."""
        try:
            while os.read(self.signalled, 4096):
                pass
        except BlockingIOError:
            pass
        ended = {}
        while self._names:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid in self._names:  # else the child of a child, or of an imported module
                ended[self._names.pop(pid)] = os.waitstatus_to_exitcode(status)
        return ended

    def end(self, within_s: float) -> None:
        """Let all children leave, and after some seconds kill them and their process groups."""
        os.close(self._owner_end)
        deadline = time.monotonic() + within_s
        # They are not reaped, so that no other process can get the number of a group.
        while any(map(_is_running, self._names)) and (left_s := deadline - time.monotonic()) > 0:
            if select.select([self.signalled], [], [], left_s)[0]:
                os.read(self.signalled, 4096)
        for pid in self._names:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _handle(self, number: int, handler: Any) -> None:
        """Handle a signal in this process only."""
        if signal.getsignal(number) is not None:  # None: foreign code handles it, let it do so
            self._before[number] = signal.signal(number, handler)

    def _flush(self) -> None:
        """Write what is buffered for standard output and standard error, also by foreign code."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._libc.fflush(None)

    def _become_child(self, out: int, err: int) -> None:
        """Leave everything behind that belongs to the parent."""
        os.setsid()
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:  # the parent ended before
            os._exit(1)
        for new, standard in ((self._pipe, 0), (out, 1), (err, 2)):
            os.dup2(new, standard)
        for descriptor in (*self._only_here, self._pipe):
            os.close(descriptor)
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._names.clear()
        _renew_random_states()
        gc.enable()


def _is_running(pid: int) -> bool:
    """Tell whether a child has not ended; it is not reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _renew_random_states() -> None:
    """Seed the global generators of NumPy and PyTorch anew; Python does so for its own."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
    if (generator := getattr(sys.modules.get("torch"), "default_generator", None)) is not None:
        generator.seed()
