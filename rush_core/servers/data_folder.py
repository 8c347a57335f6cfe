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

__all__ = ["data_folder_of", "is_served", "make_private", "open_lock", "take_lock"]


def data_folder_of(network_id: str) -> Path:
    """Return where the embedded server of a named network keeps its data.

    Below `RUSH_HOME`, by default ``rush`` in the user's data folder (`XDG_DATA_HOME`). To delete a
    network for good, delete this folder.
    """
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    home = os.environ.get("RUSH_HOME") or Path(data_home) / "rush"
    return Path(home) / f"network-{network_id}"


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


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
