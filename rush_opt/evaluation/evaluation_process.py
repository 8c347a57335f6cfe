"""The process in which a worker evaluates its trials: started, watched, killed."""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import psutil

from rush_core import SupervisedProcess, describe_exit
from rush_opt.evaluation.channel import Channel, GarbledError

__all__ = ["EvaluationProcess"]

_CHILD = Path(__file__).with_name("limited_process.py")

# Reading the memory of a known process costs 0.06 ms. Finding the processes costs milliseconds,
# because all processes of the machine are listed.
_FIND_EVERY_S = 0.5

# How long a new process may take until it reads its objective. An interpreter starts in a second.
_START_WITHIN_S = 300.0


class EvaluationProcess:
    """A process that runs `limited_process.py`; all that it starts ends with it.

    Parameters
    ----------
    packed : bytes
        The first message: import path, log level and objective.
    """

    def __init__(self, packed: bytes) -> None:
        mine, theirs = socket.socketpair()
        self._process = SupervisedProcess(
            [sys.executable, "-P", str(_CHILD), str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self._channel = Channel(mine)
        self._family: list[psutil.Process] = []
        self._family_found_at = 0.0
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
        """Return the resident memory of the process and all that it started."""
        now = time.monotonic()
        if now - self._family_found_at > _FIND_EVERY_S:
            with contextlib.suppress(psutil.Error):
                self._family = psutil.Process(self._process.pid).children(recursive=True)
            self._family_found_at = now
        return sum(map(_resident_bytes, self._family))

    def kill(self) -> str:
        """Kill the process and all that it started; say how it ended."""
        self._process.kill()
        code = self._process.wait()
        self._channel.close()
        if code == -signal.SIGKILL:  # perhaps by the line above
            return "was killed by SIGKILL, or closed its connection"
        return describe_exit(code)

    def has_ended(self) -> bool:
        """Tell whether the process has ended."""
        return self._process.has_ended()


def _resident_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
