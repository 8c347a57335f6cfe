"""The supervisor of a command: it ends with the command whatever the command has started.

The supervisor is a process of its own, between the owner and the command. It handles five events:

- *The command ends.* What it left behind gets a moment to end by itself, and is then killed. The
  supervisor ends as the command did, with the same exit code or by the same signal.
- *The owner ends, or closes the pipe.* The standard input reaches its end (see
  `rush_core.owned_process`). The standard input of the command is another pipe, which the
  supervisor closes. A moment later it kills the command and all that the command has started.
- *The owner writes to the pipe.* The supervisor kills all of them at once.
- *The command is stopped,* for example by SIGSTOP, and nobody continues it. The supervisor kills
  all of them, and ends with the exit code 128 + the number of the signal.
- *The supervisor is killed.* Linux kills the command; elsewhere its standard input reaches its end.

On Linux, a process whose parent has ended becomes a child of the supervisor, even if it began a
session of its own. Elsewhere only the process group of the command is found.

This file is executed by its path (``python supervisor.py COMMAND ARGUMENT...``), not imported by
what it runs: it may import only the standard library, and starts in a few milliseconds.
"""

import contextlib
import math
import os
import select
import signal
import sys
import time

# How long the command may go on after its owner has ended, seconds: it may have to tell others.
_LEAVE_S = 0.5

# How long what the command left behind may go on, seconds: it may have files to remove.
LEFT_BEHIND_S = 1.0

# How long the command may be stopped, seconds. Who stops a whole tree of processes, as batch
# systems do, may continue the supervisor a moment before the command.
STOPPED_S = 1.0

# How long to wait for the end of what was killed, seconds. Some processes cannot be killed: those
# of other users, and those that wait for a broken disk.
DYING_S = 5.0

# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Runs one command until nothing is left of it and of what it started.

    Parameters
    ----------
    command : list of str
        Program, by its path, and arguments.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._child_changed, wake = os.pipe()
        os.set_blocking(self._child_changed, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing wakes
        # The owner decides when the command ends: no other signal may end the supervisor.
        others = set(signal.valid_signals()) - {signal.SIGCHLD}
        self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, others)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._to_command = -1
        self._pid = self._start()
        self._close_others({0, 1, 2, self._child_changed, wake, self._to_command})
        self._status: int | None = None
        self._has_children = True
        self._owner_lives = True
        self._last_stop = self._killed_for = 0  # signals
        self._stopped_at = math.inf
        self._kill_at = math.inf
        self._was_killed = False

    def run(self) -> int:
        """Wait until nothing is left; return the exit status of the command, as `os.wait` does."""
        while True:
            self._take_changes()
            now = time.monotonic()
            if self._status is not None and not self._has_left_something():
                break
            self._kill_if_stopped(now)
            if now >= self._kill_at:
                self._kill_all()
            next_at = min(self._kill_at, self._stopped_at + STOPPED_S)
            if self._was_killed:
                next_at = self._kill_at + DYING_S
                if now >= next_at:
                    break
            self._wait(max(next_at - now, 0.0))
        if self._killed_for or self._status is None:
            return (128 + (self._killed_for or signal.SIGKILL)) << 8
        return self._status

    def _start(self) -> int:
        """Start the command in a session of its own; return its number."""
        read, self._to_command = os.pipe()
        supervisor = os.getpid()
        pid = os.fork()
        if pid:
            os.close(read)
            return pid
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == supervisor:  # else it was killed before the call
                os.dup2(read, 0)
                signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
                os.execv(self._command[0], self._command)
        except OSError as error:
            os.write(2, f"cannot run {self._command[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def _close_others(self, own: set[int]) -> None:
        """Close what only the command needs: its other end must see when the command closes it."""
        for name in os.listdir("/dev/fd"):
            if int(name) not in own:
                with contextlib.suppress(OSError):  # the one with which the folder was read
                    os.close(int(name))

    def _take_changes(self) -> None:
        """Take in which children have ended, and whether the command was stopped or continued."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                self._has_children = False
                return
            if not pid:
                return
            if pid != self._pid:
                continue
            if os.WIFSTOPPED(status):
                self._stopped_at = time.monotonic()
                self._last_stop = os.WSTOPSIG(status)
            elif os.WIFCONTINUED(status):
                self._stopped_at = math.inf
            else:
                self._status = status
                self._kill_at = min(self._kill_at, time.monotonic() + LEFT_BEHIND_S)

    def _has_left_something(self) -> bool:
        """Tell whether something that the command started is left."""
        if self._has_children:
            return True
        try:
            os.killpg(self._pid, 0)
        except OSError:  # nobody is left in the group, or only processes that have ended
            return False
        return not self._was_killed

    def _kill_if_stopped(self, now: float) -> None:
        """Let the command be killed if it has been stopped for too long."""
        stopped_s = now - self._stopped_at
        if stopped_s > 2 * STOPPED_S:  # the supervisor was stopped as well
            self._stopped_at = now
        elif stopped_s >= STOPPED_S:
            self._killed_for = self._last_stop
            self._stopped_at = math.inf
            self._kill_at = now

    def _kill_all(self) -> None:
        """Kill the command and what it started; children of those become children of this one."""
        with contextlib.suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        for pid in children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._was_killed = True

    def _wait(self, timeout_s: float) -> None:
        """Wait until the owner ends or writes, a child ends or stops, or the time is over."""
        descriptors = [self._child_changed, *([0] if self._owner_lives else [])]
        limit = None if timeout_s == math.inf else timeout_s
        readable, _, _ = select.select(descriptors, [], [], limit)
        if self._child_changed in readable:
            os.read(self._child_changed, 4096)
        if 0 not in readable:
            return
        if os.read(0, 4096):
            self._kill_at = min(self._kill_at, time.monotonic())
        else:
            self._owner_lives = False
            os.close(self._to_command)
            self._kill_at = min(self._kill_at, time.monotonic() + _LEAVE_S)


def children() -> list[int]:
    """Return the children of this process; none where there is no Linux ``/proc``."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        found = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in found if parent_of(pid) == os.getpid()]


def parent_of(pid: int) -> int:
    """Return the parent of a process, read from Linux's ``/proc``; 0 if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        # The name of the program, in brackets, may have spaces and brackets in it.
        _state, parent, *_ = file.read().rpartition(b")")[2].split()
        return int(parent)
    return 0


def prctl(option: int, value: int) -> None:
    """Set a property of this process; only Linux has them."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def end_as(status: int) -> None:
    """End this process with an exit status."""
    if os.WIFSIGNALED(status):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has written its own
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    end_as(Supervisor(sys.argv[1:]).run())
