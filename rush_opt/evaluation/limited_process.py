"""The process in which an objective is evaluated under limits; see `rush_opt.evaluation.limits`.

It is run by its path, not as a module, and imports nothing of this package. So it starts sooner,
and the memory it uses is the objective's.
"""

from __future__ import annotations

import functools
import io
import logging
import logging.handlers
import os
import pickle
import resource
import socket
import struct
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cloudpickle

# A message is a header and a pickled pair of a kind and a content. The header has a mark, the
# length of the rest and its checksum: an objective may write to any descriptor of its process, and
# the worker must not take such bytes for a message.
HEADER = struct.Struct("!4sQI")
MARK = b"rush"

# The most bytes of a message. A result is refused when it is stored if it has a quarter of this.
LARGEST_MESSAGE = 2**30

# The most characters of an error.
_LONGEST_ERROR = 100_000

_NO_INPUT = (
    "A trial has no terminal: its standard input is empty. To use breakpoint() or input(), call "
    "tune(..., debug=True), which evaluates all trials in the calling process."
)


def main(descriptor: int) -> None:
    """Evaluate one configuration after another until the connection ends."""
    os.set_inheritable(descriptor, False)
    # An objective that reads its input would wait for the owner of this process to end.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    parent = Parent(socket.socket(fileno=descriptor))
    import_path, log_level, packed = parent.receive()
    sys.path[:] = import_path
    logging.getLogger().addHandler(LogSender(parent))
    logging.getLogger().setLevel(log_level)
    try:
        objective = pickle.loads(packed)
    except BaseException as error:
        parent.send("failed", (trial_error(error), 0.0))
        return
    parent.send("ready", None)
    process = os.getpid()
    while True:
        try:
            arguments = parent.receive()
        except EOFError:
            return
        parent.send("begun", None)
        message = evaluate(objective, arguments, parent)
        if os.getpid() != process:
            # The objective has forked, and this is the child. The parent has sent its result, or
            # will: a second one would become the result of the next trial.
            os._exit(0)
        parent.send(*message)


def framed(message: bytes) -> bytes:
    """Return a message with its header."""
    return HEADER.pack(MARK, len(message), zlib.crc32(message)) + message


class Parent:
    """The worker at the other end; a message is a kind and a content."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def receive(self) -> Any:
        """Wait for the next message."""
        self._connection.setblocking(True)  # an objective may have changed it
        _, length, _ = HEADER.unpack(self._read(HEADER.size))
        return pickle.loads(self._read(length))

    def send(self, kind: str, content: Any) -> None:
        """Send a message from any thread; code in it is sent by value."""
        message = framed(cloudpickle.dumps((kind, content)))
        with self._lock:
            self._connection.setblocking(True)  # an objective may have changed it
            self._connection.sendall(message)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the trial, which lives in the worker."""
        self.send("call", (name, args, kwargs))
        returned, error = self.receive()
        if error is not None:
            raise error
        return returned

    def _read(self, n_bytes: int) -> bytearray:
        found = bytearray(n_bytes)
        rest = memoryview(found)
        while rest:
            n = self._connection.recv_into(rest)
            if n == 0:
                raise EOFError
            rest = rest[n:]
        return found


class LogSender(logging.handlers.QueueHandler):
    """Sends log records to the worker, which handles them as its own."""

    def __init__(self, parent: Parent) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._parent = parent

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a record that can be pickled."""
        self._parent.send("log", record)


def evaluate(
    objective: Any, arguments: tuple[dict[str, Any], Any], parent: Parent
) -> tuple[str, Any]:
    """Call the objective; return a message with its outcome and the CPU time so far."""
    config, trial = arguments
    more = []
    if trial is not None:
        attributes, methods = trial
        calls = {name: functools.partial(parent.call, name) for name in methods}
        more = [SimpleNamespace(**attributes, **calls)]
    try:
        returned = objective(config, *more)
    except BaseException as error:
        return "failed", (trial_error(error), cpu_seconds())
    try:
        packed = cloudpickle.dumps(returned)
    except BaseException as error:  # a method of what was returned raised it
        text = f"the objective returned a value that cannot be sent:\n{trial_error(error)}"
        return "failed", (text, cpu_seconds())
    if len(packed) > LARGEST_MESSAGE // 2:
        text = (
            f"the value that the objective returned has {len(packed):,} bytes, and a worker takes "
            f"{LARGEST_MESSAGE // 2:,}; write large data to a file, and return its path"
        )
        return "failed", (text, cpu_seconds())
    return "returned", (packed, cpu_seconds())


def trial_error(
    error: BaseException, is_to_raise: Callable[[BaseException], bool] = lambda error: False
) -> str:
    """Return the traceback of what an objective raised, without the caller's frame.

    Methods of the error may raise, too: then the text says so, unless ``is_to_raise(second)``.
    """
    try:
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        text = "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    except BaseException as second:
        if is_to_raise(second):
            raise
        text = f"{type(error).__name__}, whose text cannot be made ({type(second).__name__})"
    if asked_for_input(error):
        text += f"\n{_NO_INPUT}"
    if len(text) <= _LONGEST_ERROR:
        return text
    half = _LONGEST_ERROR // 2
    n_left_out = len(text) - 2 * half
    return f"{text[:half]}\n... {n_left_out:,} characters are left out ...\n{text[-half:]}"


def asked_for_input(error: BaseException) -> bool:
    """Tell whether `input()` or a debugger found that the standard input is empty."""
    is_end_of_input = type(error) is EOFError and str(error) == "EOF when reading a line"
    if not is_end_of_input and type(error).__name__ != "BdbQuit":
        return False
    try:
        return os.path.samestat(os.fstat(0), os.stat(os.devnull))
    except OSError:  # it is closed
        return True


def cpu_seconds() -> float:
    """Return this process's CPU time, that of its ended children included, seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]))
