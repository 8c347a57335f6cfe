"""Limits of time and memory on every trial: its objective runs in a process that can be killed.

An objective can hold the interpreter lock or run foreign code, so nothing inside its own process
can end it in time. Therefore each worker keeps one evaluation process for all its trials. When a
trial exceeds a limit, the process is killed with all its children, and replaced.

Memory is the resident set of the process and its children, sampled. A limit on addresses
(RLIMIT_AS) would be exact, but numerical libraries reserve many times what they use, and each child
would have a limit of its own.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cloudpickle
import psutil

from rush_core import run_at_owner_end
from rush_opt.evaluation.objective import Objective, TrialFailure

__all__ = ["LimitedObjective", "Limits"]

logger = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("limited_process.py")

# Reading the memory of a known process costs 0.06 ms. Finding children costs milliseconds, because
# all processes of the machine are listed.
_SAMPLE_EVERY_S = 0.05
_FIND_CHILDREN_EVERY_S = 0.5

# If children hold the connection of an evaluation process open, its end is noticed after this time.
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What a trial may use.

    Parameters
    ----------
    timeout_s : float or None
        Seconds.
    memory_bytes : int or None
        Resident memory of the evaluation process and all its children.
    """

    timeout_s: float | None
    memory_bytes: int | None


class LimitedObjective:
    """An objective that is called in another process, and whose trial fails beyond a limit.

    Parameters
    ----------
    objective : callable
    limits : Limits

    Attributes
    ----------
    cpu_s : float
        CPU time of the evaluation process at the end of its last trial; 0 once the process has
        ended, because it then counts as an ended child.
    """

    def __init__(self, objective: Objective, limits: Limits) -> None:
        self._limits = limits
        level = logging.getLogger().level
        self._packed = pickle.dumps((sys.path, level, cloudpickle.dumps(objective)))
        with contextlib.suppress(TypeError, ValueError):
            self.__signature__ = inspect.signature(objective)  # whether it takes the trial
        self._process = EvaluationProcess(self._packed)
        self._is_ready = False
        self._next_sample_at = 0.0
        self.cpu_s = 0.0

    def __call__(self, config: dict[str, Any], *trial: Any) -> Any:
        """Return what the objective returns.

        Raises
        ------
        TrialFailure
            If it raises, exceeds a limit or ends its process; the text is the reason.
        """
        if self._is_ready and self._process.has_ended():
            logger.warning("the evaluation process ended after its trial: %s", self._start_anew())
        if not self._is_ready:
            self._wait_until_ready()
        timeout_s = self._limits.timeout_s
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._process.send((config, _described(*trial) if trial else None))
            while True:
                kind, content = self._receive(deadline)
                if kind == "call":
                    self._process.send(_call(trial[0], *content))
                    continue
                outcome, self.cpu_s = content
                if kind == "failed":
                    raise TrialFailure(outcome)
                return pickle.loads(outcome)
        except _ExceededError as excess:
            self._start_anew()
            raise TrialFailure(str(excess)) from None
        except (EOFError, OSError):
            how = self._start_anew()
            raise TrialFailure(f"the objective ended its process: {how}") from None

    def close(self) -> None:
        """End the evaluation process."""
        self._process.kill()
        self.cpu_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until_ready(self) -> None:
        """Wait until the objective is unpickled with its imports: this is not time of a trial."""
        try:
            while (message := self._process.receive(_LOOK_EVERY_S)) is None:
                pass
        except (EOFError, OSError):
            how = self._start_anew()
            raise RuntimeError(f"the evaluation process cannot start: {how}") from None
        kind, content = message
        if kind == "failed":
            raise RuntimeError(f"the evaluation process cannot start:\n{content[0]}")
        self._is_ready = True

    def _receive(self, deadline: float | None) -> tuple[str, Any]:
        """Return the next message; raise if a limit is exceeded before it comes."""
        limits, process = self._limits, self._process
        while True:
            now = time.monotonic()
            left_s = float("inf") if deadline is None else deadline - now
            if left_s <= 0:
                raise _ExceededError(
                    f"the trial took longer than trial_timeout={limits.timeout_s:g} s"
                )
            # This comes first, because some objectives send messages all the time.
            if limits.memory_bytes is not None and now >= self._next_sample_at:
                self._next_sample_at = now + _SAMPLE_EVERY_S
                used = process.memory_bytes()
                if used > limits.memory_bytes:
                    raise _ExceededError(
                        f"the trial used {used:,} bytes of memory, more than "
                        f"trial_memory={limits.memory_bytes:,}"
                    )
            most_s = _LOOK_EVERY_S if limits.memory_bytes is None else _SAMPLE_EVERY_S
            if (message := process.receive(min(left_s, most_s))) is not None:
                return message

    def _start_anew(self) -> str:
        """Kill the evaluation process, start another, and return how the first one ended."""
        how = self._process.kill()
        self.cpu_s = 0.0
        self._is_ready = False
        self._process = EvaluationProcess(
            self._packed
        )  # it starts while the next trial is proposed
        return how


class EvaluationProcess:
    """A process that runs `limited_process.py`, in a session of its own, and its guard.

    Parameters
    ----------
    packed : bytes
        The first message: import path, log level and objective.
    """

    def __init__(self, packed: bytes) -> None:
        mine, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        # When the worker ends, the whole process group of the evaluation is killed.
        self._guard = run_at_owner_end('kill -9 "-$1"', str(self._process.pid))
        self._connection = Connection(mine.detach())
        self._watched = psutil.Process(self._process.pid)
        self._children: list[psutil.Process] = []
        self._children_found_at = 0.0
        with contextlib.suppress(OSError):  # it has ended: whoever receives will see
            self._connection.send_bytes(packed)

    def send(self, content: Any) -> None:
        """Send an object, by value where it is code."""
        self._connection.send_bytes(cloudpickle.dumps(content))

    def receive(self, timeout_s: float) -> tuple[str, Any] | None:
        """Return the next message that is no log record; None if none comes in time.

        Raises
        ------
        EOFError, OSError
            If the process has ended.
        """
        until = time.monotonic() + timeout_s
        while self._connection.poll(max(until - time.monotonic(), 0.0)):
            kind, content = pickle.loads(self._connection.recv_bytes())
            if kind != "log":
                return kind, content
            content.thread = threading.get_ident()  # of several workers in a process, this one's
            logging.getLogger(content.name).handle(content)
            if time.monotonic() >= until:
                return None
        if self.has_ended():
            raise EOFError
        return None

    def memory_bytes(self) -> int:
        """Return the resident memory of the process and its children."""
        now = time.monotonic()
        if now - self._children_found_at > _FIND_CHILDREN_EVERY_S:
            self._children = self._find_children()
            self._children_found_at = now
        return sum(map(_resident_bytes, (self._watched, *self._children)))

    def kill(self) -> str:
        """Kill the process and all its children; say how it ended."""
        children = self._find_children()  # also those that left the group
        # Not waited for before: nobody else can have got the number of the group meanwhile.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._guard.close()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        code = self._process.wait()
        self._connection.close()
        try:
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            return f"signal {-code}"

    def has_ended(self) -> bool:
        """Tell whether the process has ended, and leave it to be waited for."""
        # os.waitid tells the same, but CPython has it on macOS only from 3.13 on.
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(self._watched.status() == psutil.STATUS_ZOMBIE)
        return True  # somebody else has waited for it

    def _find_children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            found = self._watched.children(recursive=True)
        return found


class _ExceededError(Exception):
    """A limit was exceeded."""


def _resident_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _described(trial: Any) -> tuple[dict[str, Any], list[str]]:
    """Return a trial's attributes, and the names of its methods, which run in this process."""
    public = {name: getattr(trial, name) for name in dir(trial) if not name.startswith("_")}
    methods = [name for name, value in public.items() if callable(value)]
    return {name: value for name, value in public.items() if name not in methods}, methods


def _call(trial: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, Exception | None]:
    """Call a method of the trial; return its value or its exception."""
    try:
        return getattr(trial, name)(*args, **kwargs), None
    except Exception as error:
        return None, error
