"""Objectives that close, replace and use up file descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import sys
from typing import NoReturn

from experiments.hostile_objectives.case import FINE, Case, Outcome, doing
from experiments.hostile_objectives.raising import OwnError

__all__ = ["DESCRIPTORS"]

# Without limits, the worker's own connection to the server is among them.
_CONNECTION_IS_LOST = (Outcome("finished"), Outcome("failed", "closed its connection|no message"))


def descriptors(*, sockets_only: bool = False) -> list[int]:
    """Return the open descriptors above the standard ones."""
    found = []
    for number in range(3, 256):
        try:
            mode = os.fstat(number).st_mode
        except OSError:
            continue
        if stat.S_ISSOCK(mode) or not sockets_only:
            found.append(number)
    return found


def replace(numbers: list[int], path: str = os.devnull) -> None:
    new = os.open(path, os.O_RDWR)
    for number in numbers:
        os.dup2(new, number)


def write_to_sockets(content: bytes) -> None:
    for number in descriptors(sockets_only=True):
        os.write(number, content)


def make_nonblocking() -> None:
    for number in descriptors():
        os.set_blocking(number, False)


def use_up() -> None:
    """Open files until the system refuses."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass


def use_up_and_free() -> None:
    before = descriptors()
    use_up()
    for number in set(range(3, 256)) - set(before):
        with contextlib.suppress(OSError):
            os.close(number)


class Deaf:
    """A stream that raises at each call."""

    def write(self, text: str) -> NoReturn:
        raise OwnError("no writing")

    def flush(self) -> NoReturn:
        raise OwnError("no flushing")


def replace_streams(stream: object) -> None:
    sys.stdout = sys.stderr = stream


def close_streams() -> None:
    sys.stdout.close()
    sys.stderr.close()


DESCRIPTORS: dict[str, Case] = {
    "input closed": doing(lambda: os.close(0), FINE),
    "output closed": doing(lambda: os.closerange(1, 3), FINE),
    "all closed": doing(lambda: os.closerange(0, 256), _CONNECTION_IS_LOST),
    "all but three closed": doing(lambda: os.closerange(3, 256), _CONNECTION_IS_LOST),
    "sockets replaced": doing(lambda: replace(descriptors(sockets_only=True)), _CONNECTION_IS_LOST),
    "all replaced": doing(lambda: replace(descriptors()), _CONNECTION_IS_LOST),
    "words to sockets": doing(
        lambda: write_to_sockets(b"loss: 0.5\r\n"),
        (Outcome("finished"), Outcome("failed", "no me")),
    ),
    "zeros to sockets": doing(
        lambda: write_to_sockets(bytes(100)), (Outcome("finished"), Outcome("failed", "no message"))
    ),
    "all nonblocking": doing(make_nonblocking, FINE),
    "all used up": doing(use_up, FINE, n_together=1),
    "used up and freed": doing(use_up_and_free, FINE),
    "streams closed": doing(close_streams, FINE),
    "streams None": doing(lambda: replace_streams(None), FINE),
    "streams that raise": doing(lambda: replace_streams(Deaf()), FINE),
}
