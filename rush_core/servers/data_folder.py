"""The folder in which a server keeps its data, and the lock against a second server there.

A server and its guard inherit the lock and hold it until both have ended. So a server that starts
in the folder of one that is just ending waits until all data are written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rush_core.errors import RushError

__all__ = [
    "data_folder_of",
    "is_served",
    "make_private",
    "open_lock",
    "stored_networks",
    "take_lock",
]


_PREFIX = "network-"  # of the name of each data folder
_DATA = "appendonly*"  # what a server makes in its data folder: a folder, before Redis 7 a file


def data_folder_of(network_id: str) -> Path:
    """Return where the embedded server of a named network keeps its data.

    Below `RUSH_HOME`, by default ``rush`` in the user's data folder (`XDG_DATA_HOME`). To delete a
    network for good, delete this folder.

    Raises
    ------
    RushError
        If this user has no home folder, and no variable names another.
    """
    return _home() / f"{_PREFIX}{network_id}"


def stored_networks() -> list[str]:
    """Return the names of all networks whose data are on this machine, sorted."""
    files = _home().glob(f"{_PREFIX}*/{_DATA}")
    return sorted({file.parent.name.removeprefix(_PREFIX) for file in files})


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter.

    Raises
    ------
    RushError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise RushError(
            f"the folder {str(folder)!r} for a server's data cannot be made: {error.strerror}; set "
            "RUSH_HOME to a folder in which you can write, or give the URL of a server as url= or "
            "in RUSH_REDIS_URL"
        ) from None


def _home() -> Path:
    """Return the folder with the data of all embedded servers."""
    if home := os.environ.get("RUSH_HOME"):
        return Path(home).absolute()
    if data_home := os.environ.get("XDG_DATA_HOME"):
        return Path(data_home).absolute() / "rush"
    try:
        return Path.home() / ".local" / "share" / "rush"
    except RuntimeError:
        raise RushError(
            "a network with a name keeps its data in a folder, and this user has no home folder: "
            "set RUSH_HOME to a folder in which you can write, or give the URL of a server as url= "
            "or in RUSH_REDIS_URL"
        ) from None


@contextmanager
def open_lock(folder: Path) -> Iterator[int]:
    """Open the lock of a data folder; closing it releases the lock unless a server inherited it."""
    descriptor = os.open(folder / "serving", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def take_lock(descriptor: int) -> bool:
    """Take the lock unless another process holds it; return whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_served(folder: Path) -> bool:
    """Return whether a server holds the lock of a data folder."""
    with open_lock(folder) as lock:
        return not take_lock(lock)
