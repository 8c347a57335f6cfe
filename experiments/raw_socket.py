"""The floor of all timings: requests on a bare socket. Also the task of the timed operations."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import hiredis

PING = b"*1\r\n$4\r\nPING\r\n"

# A task of ten parameters.
CONFIG = {f"x{i}": i * 0.137 for i in range(10)}
RESULT = {"y": 0.3}


def raw_client(url: str) -> Callable[..., Any]:
    """Return a function that sends packed requests to a unix socket and returns the last reply."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(url.removeprefix("unix://"))
    reader = hiredis.Reader()

    def call(request: bytes, n_replies: int = 1) -> Any:
        connection.sendall(request)
        reader.feed(connection.recv(65536))
        while (reply := reader.gets()) is False or (n_replies := n_replies - 1):
            if reply is False:
                reader.feed(connection.recv(65536))
        return reply

    return call
