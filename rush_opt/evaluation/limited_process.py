"""The process in which an objective is evaluated under limits; see `rush_opt.evaluation.limits`.

It is run by its path, not as a module, and imports nothing of this package. So it starts sooner,
and the memory it uses is the objective's.
"""

from __future__ import annotations

import functools
import logging
import logging.handlers
import os
import pickle
import resource
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import cloudpickle


def main(descriptor: int) -> None:
    """Evaluate one configuration after another until the connection ends."""
    os.set_inheritable(descriptor, False)
    parent = Parent(Connection(descriptor))
    import_path, log_level, packed = parent.receive()
    sys.path[:] = import_path
    logging.getLogger().addHandler(LogSender(parent))
    logging.getLogger().setLevel(log_level)
    try:
        objective = pickle.loads(packed)
    except Exception:
        parent.send("failed", (traceback.format_exc(), 0.0))
        return
    parent.send("ready", None)
    while True:
        try:
            arguments = parent.receive()
        except EOFError:
            return
        parent.send(*evaluate(objective, arguments, parent))


class Parent:
    """The worker at the other end; a message is a kind and a content."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def receive(self) -> Any:
        """Wait for the next message."""
        return pickle.loads(self._connection.recv_bytes())

    def send(self, kind: str, content: Any) -> None:
        """Send a message from any thread; code in it is sent by value."""
        message = cloudpickle.dumps((kind, content))
        with self._lock:
            self._connection.send_bytes(message)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the trial, which lives in the worker."""
        self.send("call", (name, args, kwargs))
        returned, error = self.receive()
        if error is not None:
            raise error
        return returned


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
        # The first frame is this function's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        text = "".join(traceback.format_exception(type(error), error, trace)).rstrip()
        return "failed", (text, cpu_seconds())
    try:
        return "returned", (cloudpickle.dumps(returned), cpu_seconds())
    except Exception as error:
        text = f"the value that the objective returned cannot be sent to its worker: {error}"
        return "failed", (text, cpu_seconds())


def cpu_seconds() -> float:
    """Return this process's CPU time, that of its ended children included, seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]))
