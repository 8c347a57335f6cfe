"""The process in which a worker evaluates its trials: started, watched, killed."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import psutil

from rush_core import run_at_owner_end
from rush_opt.evaluation.channel import Channel, GarbledError

__all__ = ["EvaluationProcess"]

_CHILD = Path(__file__).with_name("limited_process.py")

# Reading the memory of a known process costs 0.06 ms. Finding children costs milliseconds, because
# all processes of the machine are listed.
_FIND_CHILDREN_EVERY_S = 0.5

# How long a new process may take until it reads its objective. An interpreter starts in a second.
_START_WITHIN_S = 300.0


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
        self._channel = Channel(mine)
        self._watched = psutil.Process(self._process.pid)
        self._children: list[psutil.Process] = []
        self._children_found_at = 0.0
        try:
            self._channel.send(packed, _START_WITHIN_S)
        except TimeoutError:
            self._process.kill()  # `receive` raises EOFError
        except OSError:
            pass  # it has ended: `receive` raises EOFError

    def send(self, content: Any, timeout_s: float) -> None:
        """Send an object, by value where it is code.

        Raises
        ------
        TimeoutError
            If the process does not read it in time.
        OSError
            If the process has ended.
        """
        self._channel.send(cloudpickle.dumps(content), timeout_s)

    def receive(self, timeout_s: float) -> tuple[str, Any] | None:
        """Return the next message that is no log record; None if none is complete in time.

        Raises
        ------
        EOFError, OSError
            If the process has ended or closed its connection.
        GarbledError
            If it has sent something else than a message.
        """
        until = time.monotonic() + timeout_s
        while (message := self._channel.receive(max(until - time.monotonic(), 0.0))) is not None:
            try:
                kind, content = pickle.loads(message)
                if kind != "log":
                    return kind, content
                content.thread = threading.get_ident()  # of several workers in a process, this one
                logging.getLogger(content.name).handle(content)
            except Exception as error:
                raise GarbledError from error
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
        self._channel.close()
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


def _resident_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
